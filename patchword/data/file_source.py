"""A source made of files: records kept compactly, and pictures read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from patchword.data.base import Record, Source, Split
from patchword.data.decode import BadImage
from patchword.data.splits import Splits
from patchword.data.strings import Strings


@dataclass(frozen=True)
class Notes:
    """What a source left out, for the doctor to report."""

    empty: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By field: rows of the table in which it is empty, as `captions.csv, line 7`."""
    without_texts: tuple[str, ...] = ()
    """Samples in the table that have empty texts only."""
    in_no_split: tuple[str, ...] = ()
    """Samples that no list, column or name gives to a split."""
    listed_only: tuple[str, ...] = ()
    """Names in a list of a split that are not in the table."""
    not_in_table: int = 0
    """Pictures that nothing is said of."""


class NotedSource(Source, Protocol):
    """A source that knows what it left out."""

    notes: Notes


class Pictures(Protocol):
    """Where pictures are read from, by name."""

    def read(self, name: str) -> bytes | np.ndarray:
        """The bytes of a file, or pixels uint8 [height, width, 3].

        Raises:
            BadImage: there is no such picture, or it cannot be read.
        """
        ...


@dataclass
class Entry:
    """One record on its way into a source."""

    id: str
    file: str | None
    """Its picture's name; None: it has none."""
    texts: dict[str, list[str]] = field(default_factory=dict)
    """By field."""
    splits: dict[str, None] = field(default_factory=dict)
    """What a column or a name says, in order; more than one where rows disagree."""


class Records:
    """All records of a source, compact."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.ids = Strings(entry.id for entry in entries)
        self.files = Strings(entry.file or "" for entry in entries)
        self.texts = {
            name: _Lists([entry.texts.get(name, ()) for entry in entries])
            for name in dict.fromkeys(name for entry in entries for name in entry.texts)
        }

    def record(self, index: int) -> Record:
        """One of them."""
        return Record(self.ids[index], {name: lists[index] for name, lists in self.texts.items()})


class _Lists:
    """A tuple of strings for each record."""

    def __init__(self, lists: Sequence[Sequence[str]]) -> None:
        self.texts = Strings(text for texts in lists for text in texts)
        self.ends = np.cumsum([0, *map(len, lists)], dtype=np.int64)

    def __getitem__(self, index: int) -> tuple[str, ...]:
        return self.texts[int(self.ends[index]) : int(self.ends[index + 1])]


class FileSplit:
    """Some of the records of a source."""

    def __init__(self, name: str, records: Records, members: Iterable[int], pictures: Pictures | None) -> None:
        self.name = name
        self._records = records
        self._members = np.fromiter(members, dtype=np.int64)
        self._pictures = pictures

    def __len__(self) -> int:
        return len(self._members)

    def record(self, index: int) -> Record:
        """Record `index`."""
        return self._records.record(self._at(index))

    def read(self, index: int) -> bytes | np.ndarray:
        """Its picture: the bytes of a file, or pixels uint8 [height, width, 3]."""
        place = self._at(index)
        if self._pictures is None:
            raise BadImage("missing", "the data set has no pictures")
        return self._pictures.read(self._records.files[place])

    def _at(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of the {len(self)} in split {self.name!r}")
        return int(self._members[index])


class FileSource:
    """Records of files: those that a table names, or that folders and names tell apart."""

    def __init__(self, name: str, splits: Mapping[str, FileSplit], notes: Notes, has_pictures: bool) -> None:
        self.name = name
        self.splits: Mapping[str, Split] = Splits(name, splits)
        self.notes = notes
        self.has_pictures = has_pictures

    def describes(self, split: str, index: int, caption: str) -> bool | None:
        """None: files do not know what is true of their pictures."""
        del split, index, caption

    def group(self, split: str, index: int) -> str | None:
        """None: files are all alike."""
        del split, index
