"""A source made of files: an archive of pictures, and what a table says of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from patchword.config import UserError
from patchword.data.archives import Archive
from patchword.data.base import Record, Source, Split
from patchword.data.columns import Columns, samples
from patchword.data.decode import BadImage
from patchword.data.finder import Finder
from patchword.data.splits import Splits
from patchword.data.strings import Strings
from patchword.data.tables import Table, where


@dataclass(frozen=True)
class Notes:
    """What a source left out, for the doctor to report."""

    empty_captions: tuple[str, ...] = ()
    """Rows of the table with an empty caption, as `captions.csv, line 7`."""
    without_captions: tuple[str, ...] = ()
    """Pictures in the table that have empty captions only."""
    in_no_split: tuple[str, ...] = ()
    """Pictures that no list or column gives to a split."""
    listed_only: tuple[str, ...] = ()
    """Names in a list of a split that are not in the table."""
    not_in_table: int = 0
    """Pictures that the table does not name."""


class NotedSource(Source, Protocol):
    """A source that knows what it left out."""

    notes: Notes


@dataclass
class Entry:
    """One picture of a table."""

    id: str
    file: str
    """Its name in the archive."""
    captions: list[str] = field(default_factory=list)
    labels: dict[str, None] = field(default_factory=dict)
    """What the split column says, in order; more than one where its rows disagree."""


class Records:
    """All records of a source, compact."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.ids = Strings(entry.id for entry in entries)
        self.files = Strings(entry.file for entry in entries)
        self.captions = Strings(text for entry in entries for text in entry.captions)
        self.ends = np.cumsum([0, *(len(entry.captions) for entry in entries)], dtype=np.int64)

    def record(self, index: int) -> Record:
        """One of them."""
        start, end = int(self.ends[index]), int(self.ends[index + 1])
        return Record(self.ids[index], self.captions[start:end])


class FileSplit:
    """Some of the records of a source."""

    def __init__(self, name: str, records: Records, members: Iterable[int], pictures: Archive) -> None:
        self.name = name
        self._records = records
        self._members = np.fromiter(members, dtype=np.int64)
        self._pictures = pictures

    def __len__(self) -> int:
        return len(self._members)

    def record(self, index: int) -> Record:
        """Record `index`."""
        return self._records.record(self._at(index))

    def read(self, index: int) -> bytes:
        """The bytes of its picture's file."""
        return self._pictures.read(self._records.files[self._at(index)])

    def _at(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of the {len(self)} in split {self.name!r}")
        return int(self._members[index])


class FileSource:
    """Pictures in files, with the captions of a table."""

    def __init__(self, name: str, splits: Mapping[str, FileSplit], notes: Notes) -> None:
        self.name = name
        self.splits: Mapping[str, Split] = Splits(name, splits)
        self.notes = notes

    def describes(self, split: str, index: int, caption: str) -> bool | None:
        """None: files do not know what is true of their pictures."""
        del split, index, caption

    def group(self, split: str, index: int) -> str | None:
        """None: files are all alike."""
        del split, index


@dataclass
class Gathered:
    """The pictures of a table."""

    entries: dict[str, Entry]
    """Those with a caption, by their file."""
    files: frozenset[str]
    """The files of all of them."""
    empty_captions: tuple[str, ...]
    without_captions: tuple[str, ...]


def gather(table: Table, columns: Columns, finder: Finder) -> Gathered:
    """Read a table: all rows of one picture, however its path is spelt, become one entry.

    Raises:
        UserError: a row is wrong, or none of the pictures is there.
    """
    entries: dict[str, Entry] = {}
    empty: list[str] = []
    files: dict[str, str] = {}
    for sample in samples(table, columns):
        file = files.get(sample.image)
        if file is None:
            try:
                file = files.setdefault(sample.image, finder.find(sample.image))
            except UserError as error:
                raise UserError(f"{where(table, sample.number)}: {error}") from error
        entry = entries.setdefault(file, Entry(sample.image, file))
        entry.captions.extend(sample.captions)
        entry.labels.update(dict.fromkeys([sample.split]))
        empty += [where(table, sample.number)] * sample.empty
    said = {file: entry for file, entry in entries.items() if entry.captions}
    if not said:
        raise UserError(f"{table.name}: the data set is empty: {len(entries)} pictures, none with a caption")
    if not any(finder.archive.has(file) for file in said):
        raise UserError(f"{table.name}: {_nothing_found(said, finder)}")
    silent = tuple(entry.id for entry in entries.values() if not entry.captions)
    return Gathered(said, frozenset(entries), tuple(empty), silent)


def _nothing_found(entries: Mapping[str, Entry], finder: Finder) -> str:
    first = next(iter(entries.values()))
    try:
        finder.archive.read(first.file)
        why = f"{first.id}: not where data.images says"
    except BadImage as error:
        why = f"{first.id}: {error.message}"
    there = next(iter(finder.pictures()), None)
    like = f"; pictures in {finder.archive.label} are named like {there!r}" if there else ""
    return f"none of its {len(entries)} pictures can be found, the first one: {why}{like}"
