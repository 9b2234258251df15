"""The tokenizers of a task's text towers: made from its training texts, kept in its folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from pathlib import Path
from typing import Self, cast

from patchword.config import DataConfig, ModelConfig, RunConfig, TextTowerConfig, UserError
from patchword.data.text import Tokenizer
from patchword.models.folder import settings_of
from patchword.models.start import starts_of

_MOST_TEXTS = 100_000  # that a tokenizer is trained on; more change little and cost minutes

Texts = Callable[[str], Iterator[str]]
"""What a text tower of that name reads or says in training, in order."""


class Tokenizers:
    """A tokenizer for each text tower; towers that share a table share it."""

    def __init__(self, run: RunConfig, of_owner: dict[str, Tokenizer]) -> None:
        self.model, self._of_owner = run.model, of_owner

    @classmethod
    def train(cls, run: RunConfig, towers: Sequence[str], texts: Texts) -> Self:
        """Made from what these towers read and say.

        Raises:
            UserError: there is nothing to learn from.
        """
        made = {}
        for owner, members in _by_owner(run.model, towers).items():
            # one after another, so that a long first tower leaves the others no fewer texts
            each = _MOST_TEXTS // len(members)
            of_members = (text for tower in members for text in islice(texts(tower), each))
            made[owner] = tokenizer_for(run, owner, of_members)
        return cls(run, made)

    @classmethod
    def load(cls, run: RunConfig, towers: Sequence[str], folder: Path) -> Self:
        """As `save` left them in `folder`.

        Raises:
            UserError: one is missing or broken.
        """
        owners = list(_by_owner(run.model, towers))
        return cls(run, {owner: Tokenizer.load(folder / _file(owner, owners)) for owner in owners})

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json`, or where there are several, `tokenizer.TOWER.json` of each tower with a table."""
        for owner, tokenizer in self._of_owner.items():
            tokenizer.save(folder / _file(owner, list(self._of_owner)))

    def __getitem__(self, tower: str) -> Tokenizer:
        return self._of_owner[_owner(self.model, tower)]

    def ids(self, tower: str, text: str, extra: int = 0) -> list[int]:
        """Token ids, `<bos>` and `<eos>` included, cut to what the tower can place and `extra` more."""
        most = cast(TextTowerConfig, self.model.towers[tower]).max_len + extra
        return self[tower].encode(text, most)

    def model_config(self) -> ModelConfig:
        """The run's model with the sizes of the vocabularies filled in.

        Raises:
            UserError: a table has fewer rows than its tokenizer has entries.
        """
        sizes = {owner: tokenizer.vocab_size for owner, tokenizer in self._of_owner.items()}
        for owner, size in sizes.items():
            rows = cast(TextTowerConfig, self.model.towers[owner]).vocab_size
            if rows is not None and rows < size:
                raise UserError(
                    f"model.towers.{owner}.vocab_size {rows} is less than the tokenizer's {size}: "
                    "leave it null, or lower data.tokenizer.vocab_size"
                )
        return self.model.with_vocabularies(sizes.get)


Maker = Callable[[RunConfig, str, Iterable[str]], Tokenizer]
"""What `tokenizer_for` is."""


def tokenizer_for(run: RunConfig, tower: str, texts: Iterable[str]) -> Tokenizer:
    """The tokenizer of a text tower with its own table, as `new_tokenizer` makes it, or whoever stands in for that."""
    return _maker.get()(run, tower, texts)


@contextmanager
def making(maker: Maker) -> Iterator[None]:
    """Inside, tokenizers are made by this: tasks that are learnt together share those of the towers they share."""
    token = _maker.set(maker)
    try:
        yield
    finally:
        _maker.reset(token)


def new_tokenizer(run: RunConfig, tower: str, texts: Iterable[str]) -> Tokenizer:
    """Trained on texts; of a tower that starts from another run's, that one's own: its rows mean those tokens.

    Raises:
        UserError: there is nothing to learn from, or the other run has no tokenizer or made it in another way.
    """
    start = starts_of(run.model).get(tower)
    if start is None:
        return Tokenizer.train(run.data.tokenizer, texts)
    config, data = settings_of(start.folder)
    there = _owner(config, start.part)
    files = [file for name in (f"tokenizer.{there}.json", _file(there, [there])) for file in start.folder.rglob(name)]
    if not files or "run" not in data:
        raise UserError(f"{start.field}: {start.folder} has no tokenizer that says what the rows of its table mean")
    made = DataConfig.from_dict(data["run"]["data"], str(start.folder)).tokenizer
    if made != run.data.tokenizer:
        raise UserError(
            f"{start.field}: the tokenizer of {start.folder} was made with other settings: set data.tokenizer to "
            f"{json.dumps(made.to_dict())}"
        )
    return Tokenizer.load(files[0], special_tokens=None)


_maker: ContextVar[Maker] = ContextVar("maker", default=new_tokenizer)


def _owner(model: ModelConfig, tower: str) -> str:
    own = model.towers[tower]
    return own.shares if isinstance(own, TextTowerConfig) and own.shares is not None else tower


def _by_owner(model: ModelConfig, towers: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for tower in towers:
        found.setdefault(_owner(model, tower), []).append(tower)
    return found


def _file(owner: str, owners: Sequence[str]) -> str:
    return "tokenizer.json" if len(owners) == 1 else f"tokenizer.{owner}.json"
