"""From the rows of tables to entries: all rows of one picture, however its path is spelt, become one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from patchword.config import Fields, UserError
from patchword.data.columns import FIELDS, Columns, Sample, samples
from patchword.data.decode import BadImage
from patchword.data.file_source import Entry, Pictures
from patchword.data.finder import Finder
from patchword.data.held import HeldPictures
from patchword.data.paths import normal
from patchword.data.tables import Table, where


class Part(NamedTuple):
    """A table, and what is known of it before it is read."""

    table: Table
    columns: Columns
    split: str | None
    """The split that its name says."""
    folder: str = ""
    """Where in the source it lies: of pictures of one name, those there are meant."""


@dataclass
class Gathered:
    """What was found of a data set, before it is known which record is in which split."""

    entries: dict[str, Entry]
    """Those with texts, by their picture's file (where there are no pictures, by their name)."""
    pictures: Pictures | None
    """Where pictures are read from; None: there are none."""
    finder: Finder | None = None
    """Which file a name means, where pictures are files."""
    empty: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    without_texts: tuple[str, ...] = ()
    not_in_table: int = 0


def gather(
    parts: Sequence[Part], fields: Fields, find: Callable[[], Finder] | None, separator: str | None = None
) -> Gathered:
    """Read tables.

    Args:
        parts: the tables.
        fields: what is read of them.
        find: where their pictures are; asked only when a row names one by its path. None: no picture is read.
        separator: what stands between several answers in one cell.

    Raises:
        UserError: a row is wrong, or none of the pictures is there.
    """
    reading = _Reading(find)
    empty: dict[str, list[str]] = defaultdict(list)
    names = [name for name in fields.names if any(name in part.columns.texts for part in parts)]
    for part in parts:
        for sample in samples(part.table, part.columns, fields, separator):
            entry = reading.entry(sample, part, len(parts) > 1)
            place = where(part.table, sample.number)
            for name in names if fields.parallel and sample.texts else sample.texts:
                there, texts = entry.texts.setdefault(name, []), sample.texts.get(name)
                if texts is None:  # another table has it: what goes together stays in step
                    texts = [""] * len(sample.texts[fields.required[0]])
                once = FIELDS[name].once and not fields.parallel
                there += [text for text in dict.fromkeys(texts) if text not in there] if once else texts
            split = sample.split if part.columns.split is not None else part.split
            entry.splits.update(dict.fromkeys([split] if split else []))
            for name, count in sample.empty.items():
                empty[name] += [place] * count
    return _checked(parts, fields, reading, {name: tuple(rows) for name, rows in empty.items()})


class _Reading:
    """Entries so far, and where their pictures are."""

    def __init__(self, find: Callable[[], Finder] | None) -> None:
        self.entries: dict[str, Entry] = {}
        self.held: dict[str, bytes] = {}
        self._find = find
        self._files: dict[tuple[str, str], str] = {}
        self._ids: set[str] = set()

    @cached_property
    def finder(self) -> Finder:
        assert self._find is not None
        return self._find()

    @property
    def searched(self) -> bool:
        """Whether a row named a picture by its path."""
        return bool(self._files)

    def entry(self, sample: Sample, part: Part, of_several: bool) -> Entry:
        """The entry of a row's picture; a row without one has an entry of its own."""
        place = where(part.table, sample.number)
        if sample.image is None:
            name = place if of_several else f"{part.table.unit} {sample.number}"
            return self.entries.setdefault(name, Entry(name, None))
        if self._find is None:
            return self.entries.setdefault(normal(sample.image), Entry(sample.image, None))
        if sample.picture is not None:
            return self._holding(sample.image, sample.picture, place)
        if self.held:
            raise UserError(f"{place}: names a picture by its path, but rows before it hold theirs in the table")
        file = self._files.get((part.folder, sample.image))
        if file is None:
            try:
                file = self.finder.find(sample.image, part.folder)
            except UserError as error:
                raise UserError(f"{place}: {error}") from error
            self._files[part.folder, sample.image] = file
        if file not in self.entries:
            name = file if sample.image in self._ids else sample.image
            self._ids.add(name)
            self.entries[file] = Entry(name, file)
        return self.entries[file]

    def _holding(self, name: str, picture: bytes, place: str) -> Entry:
        if self._files:
            raise UserError(f"{place}: holds its picture in the table, but rows before it name theirs by a path")
        if self.held.get(name, picture) != picture:  # `path` is often the same for all, or was made up
            name = place
        self.held[name] = picture
        return self.entries.setdefault(name, Entry(name, name))


def _checked(
    parts: Sequence[Part], fields: Fields, reading: _Reading, empty: Mapping[str, tuple[str, ...]]
) -> Gathered:
    label = ", ".join(part.table.name for part in parts)
    said = {key: entry for key, entry in reading.entries.items() if entry.texts}
    if not said:
        things = "pictures" if any(part.columns.image for part in parts) else "rows"
        wanted = fields.required or ("text",)
        needs = " and ".join(f"a{'n' if name[0] in 'aeiou' else ''} {name}" for name in wanted)
        raise UserError(f"{label}: the data set is empty: {len(reading.entries)} {things}, none with {needs}")
    silent = tuple(entry.id for entry in reading.entries.values() if not entry.texts)
    if reading.held:
        return Gathered(said, HeldPictures(label, reading.held), None, empty, silent)
    if not reading.searched:
        return Gathered(said, None, None, empty, silent)
    finder = reading.finder
    if not any(finder.archive.has(file) for file in said):
        raise UserError(f"{label}: {_nothing_found(said, finder)}")
    others = sum(name not in reading.entries for name in finder.pictures())
    return Gathered(said, finder.archive, finder, empty, silent, others)


def _nothing_found(entries: Mapping[str, Entry], finder: Finder) -> str:
    file, first = next(iter(entries.items()))
    try:
        finder.archive.read(file)
        why = f"{first.id}: not where data.images says"
    except BadImage as error:
        why = f"{first.id}: {error.message}"
    there = next(iter(finder.pictures()), None)
    like = f"; pictures in {finder.archive.label} are named like {there!r}" if there else ""
    return f"none of its {len(entries)} pictures can be found, the first one: {why}{like}"
