"""What a training starts from where parts of its model are another's."""

from __future__ import annotations

from collections.abc import Callable

from patchword.config import UserError
from patchword.models.model import Model
from patchword.models.start import start_from, starts_of
from patchword.training.files import damage


def start_of_training(model: Model, say: Callable[[str], None]) -> None:
    """Give parts with `init_from` their weights, and tell what of the others has no place here.

    Raises:
        UserError: a folder holds no such part, is damaged, or its weights do not fit.
    """
    for start in starts_of(model.config).values():
        wrong = damage(start.folder)
        if wrong is not None:
            raise UserError(f"{start.field}: {start.folder}: {wrong}")
    for note in start_from(model):
        say(note)
