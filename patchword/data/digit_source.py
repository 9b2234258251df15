"""An embedded data set without files: numbers, and their digits in reverse order. What it takes is order alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from patchword.config import DataConfig, DigitsConfig, Fields, UserError
from patchword.data.base import Record, Split
from patchword.data.decode import BadImage
from patchword.data.file_source import Notes
from patchword.data.splits import Splits

TEXTS = ("source", "target")
_SHARES = {"val": 26, "test": 26}
"""Of 256 numbers."""


class DigitSplit:
    """The first `count` numbers of one split; number `index` depends on seed, split and index alone."""

    def __init__(self, name: str, count: int, config: DigitsConfig, fields: Sequence[str]) -> None:
        self.name = name
        self._count, self._config, self._fields = count, config, tuple(fields)

    def __len__(self) -> int:
        return self._count

    def record(self, index: int) -> Record:
        """Number `index`, and its digits in reverse order."""
        if not 0 <= index < self._count:
            raise IndexError(f"record {index} of the {self._count} in split {self.name!r}")
        digits = self._digits(index)
        between = " " if self._config.spaced else ""
        said = {"source": (between.join(digits),), "target": (between.join(reversed(digits)),)}
        return Record(f"{self.name}/{index}", {name: said[name] for name in self._fields})

    def read(self, index: int) -> np.ndarray:
        """Numbers have no pictures."""
        raise BadImage("missing", "the data set has no pictures")

    def _digits(self, index: int) -> str:
        shortest, longest = self._config.shortest, self._config.longest
        for attempt in range(10_000):
            draw = _hash(f"{self._config.seed}/{self.name}/{index}/{attempt}")
            length = shortest + draw % (longest - shortest + 1)
            digits = str(draw // 997 % 10**length).zfill(length)
            if split_of(digits) == self.name:
                return digits
        raise UserError(f"data.digits: no numbers of {shortest} to {longest} digits are in split {self.name!r}")


def split_of(digits: str) -> str:
    """The split that a number belongs to, whatever the seed: no number is in two."""
    draw = _hash(digits) % 256
    if draw < _SHARES["val"]:
        return "val"
    return "test" if draw < _SHARES["val"] + _SHARES["test"] else "train"


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest())


class DigitSource:
    """Numbers to be read from their end: train, val and test."""

    name = "digits"
    has_pictures = False

    def __init__(self, config: DataConfig, fields: Fields) -> None:
        lacking = [name for name in fields.required if name not in TEXTS]
        if fields.image:
            lacking.append("picture")
        if lacking:
            raise UserError(f"the embedded numbers have no {lacking[0]}; what they have: {', '.join(TEXTS)}")
        digits, names = config.digits, [name for name in fields.names if name in TEXTS]
        counts = {"train": digits.train, "val": digits.val, "test": digits.test}
        self.notes = Notes()
        self.splits: Mapping[str, Split] = Splits(
            self.name, {name: DigitSplit(name, count, digits, names) for name, count in counts.items()}
        )

    def describes(self, split: str, index: int, caption: str) -> None:
        """None: there are no captions."""
        del split, index, caption

    def group(self, split: str, index: int) -> None:
        """None: numbers are all alike."""
        del split, index
