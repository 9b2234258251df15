"""Which texts of a record a task reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from patchword.config.data import DataConfig


class TaskFields(NamedTuple):
    """What one of several tasks reads, and of which data."""

    fields: Fields
    data: DataConfig | None
    """None: the run's."""


class Fields(NamedTuple):
    """What a task reads of a record: the names of its texts, and whether it has a picture."""

    required: tuple[str, ...]
    """Every record has at least one text of each; a sample that lacks one is left out and noted."""
    optional: tuple[str, ...] = ()
    """Read where the data has them."""
    image: bool | None = True
    """True: every record has a picture; False: none is looked for; None: as the data has it."""
    parts: Mapping[str, TaskFields] = {}  # plain, for a source that holds it goes to worker processes
    """Where several tasks are learnt together, what each reads; the rest then says nothing."""

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, the required ones first."""
        return (*self.required, *self.optional)

    @property
    def parallel(self) -> bool:
        """Whether the texts of a record go together, the first of each field, the second of each, and so on."""
        return len(self.required) > 1
