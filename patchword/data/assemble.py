"""From what was found to a source: the pictures and texts, who is in which split, and what was left out."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence
from typing import NamedTuple

from patchword.config import DataConfig, Fields
from patchword.data.allot import Origin, allot, lists_of
from patchword.data.annotations import with_annotations
from patchword.data.archives import Archive
from patchword.data.columns import choose_columns
from patchword.data.file_source import FileSource, FileSplit, Notes, Records
from patchword.data.finder import Finder
from patchword.data.gather import Gathered, Part, gather
from patchword.data.splits import split_of_path
from patchword.data.tables import Table, read_table


def from_tables(
    config: DataConfig,
    fields: Fields,
    archive: Archive,
    tables: Sequence[tuple[str, bytes]],
    find: Callable[[], Finder],
) -> FileSource:
    """The source that tables describe.

    Args:
        config: how they are read.
        fields: what is read of them.
        archive: the folder or archive that they and the lists of splits are in.
        tables: name and content of each.
        find: where their pictures are; asked only when a table names one by its path.

    Raises:
        UserError: a table, a list or the settings are wrong, or nothing is left.
    """
    opened = [(name, read_table(posixpath.join(archive.label, name), data)) for name, data in tables]
    named = [Named(name, table, split_of_path(name)) for name, table in with_annotations(opened)]
    return from_named(config, fields, archive, named, find)


class Named(NamedTuple):
    """A table that is open, and what its place in the source says."""

    name: str
    """Its path in the source."""
    table: Table
    split: str | None
    """The split that its path says."""


def from_named(
    config: DataConfig, fields: Fields, archive: Archive, named: Sequence[Named], find: Callable[[], Finder]
) -> FileSource:
    """As `from_tables`, of tables that are open already.

    Where no pictures are read but lists say the splits, rows go by the names of their pictures, as these do.
    """
    origin = Origin(archive, tuple(each.name for each in named))
    listed, parts = bool(lists_of(config, origin)), []
    for name, table, split in named:
        columns = choose_columns(table, config.columns, fields, listed)
        parts.append(Part(table, columns, split, posixpath.dirname(name)))
    gathered = gather(parts, fields, None if fields.image is False else find, config.columns.answer_separator)
    column = next((part.columns.split for part in parts if part.columns.split is not None), None)
    return finished(config, origin._replace(column=column), gathered)


def finished(config: DataConfig, origin: Origin, gathered: Gathered) -> FileSource:
    """The source of these entries.

    Raises:
        UserError: a list or the settings are wrong, or nothing is left to train on.
    """
    entries = list(gathered.entries.values())
    members, listed_only = allot(config, origin, gathered)
    used = {index for split in members.values() for index in split}
    notes = Notes(
        empty=gathered.empty,
        without_texts=gathered.without_texts,
        in_no_split=tuple(entry.id for index, entry in enumerate(entries) if index not in used),
        listed_only=tuple(listed_only),
        not_in_table=gathered.not_in_table,
    )
    records = Records(entries)
    usual = [name for name in ("train", "val", "test") if name in members]
    order = dict.fromkeys([*usual, *members])
    splits = {name: FileSplit(name, records, members[name], gathered.pictures) for name in order}
    return FileSource(config.source, splits, notes, gathered.pictures is not None)
