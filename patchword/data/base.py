"""What a source of data is: named splits of records, each some texts, most with a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np


class Record(NamedTuple):
    """One sample without the bytes of its picture; cheap."""

    id: str
    """Its name, unique in the source."""
    texts: Mapping[str, tuple[str, ...]]
    """By field (caption, label, ...): at least one of each field that the source was opened for; fields of one row
    (question, answer) are parallel."""


class Split(Protocol):
    """The records of one split, in a fixed order."""

    name: str

    def __len__(self) -> int: ...

    def record(self, index: int) -> Record:
        """Record `index`, 0 <= index < len."""
        ...

    def read(self, index: int) -> bytes | np.ndarray:
        """The picture of that record: the file's bytes, or pixels uint8 [height, width, 3].

        Raises:
            patchword.data.image.BadImage: the file is missing or cannot be read, or the source has no pictures.
        """
        ...


class Source(Protocol):
    """Where samples come from. Can be pickled to worker processes (open files are reopened there)."""

    name: str
    splits: Mapping[str, Split]
    """By name: train, val, test, and whatever else the source has."""
    has_pictures: bool
    """Whether its records have pictures."""

    def describes(self, split: str, index: int, caption: str) -> bool | None:
        """Whether a caption is true and complete, where the source knows its own truth; None where it does not."""
        ...

    def group(self, split: str, index: int) -> str | None:
        """What the record is counted with when metrics are also given by group; None: there are no groups."""
        ...
