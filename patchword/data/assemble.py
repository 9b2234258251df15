"""From a table and the pictures that it names to a source: who is in which split, and what was left out."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from typing import NamedTuple

from patchword.config import DataConfig, UserError, nearest
from patchword.data.archives import Archive
from patchword.data.columns import choose_columns
from patchword.data.decode import BadImage
from patchword.data.file_source import Entry, FileSource, FileSplit, Gathered, Notes, Records, gather
from patchword.data.finder import Finder, is_picture
from patchword.data.paths import leads_out, normal
from patchword.data.splits import share_split, split_name
from patchword.data.tables import decode, read_table

FLICKR_TABLES = ("captions.txt", "Flickr8k.token.txt")
"""The captions of Flickr8k, in the two files in which they are found; a folder may have both."""
_FLICKR_LIST = re.compile(r"Flickr_8k\.(train|dev|test)Images\.txt")

Members = dict[str, list[int]]
"""Numbers of the pictures in each split."""


class Place(NamedTuple):
    """A table, and the folder or archive that it and the lists of splits are in."""

    archive: Archive
    table: str
    data: bytes


def inside(setting: str, name: str) -> str:
    """A path from the settings, which must stay in the source."""
    path = normal(name)
    if leads_out(path):
        raise UserError(f"{setting}={name}: should be inside data.source")
    return path


def read_text_file(archive: Archive, name: str, setting: str) -> bytes:
    """A file that `setting` asked for.

    Raises:
        UserError: it cannot be read; the message has the nearest name that can.
    """
    try:
        return archive.read(name)
    except BadImage as error:
        guess = nearest(name, [other for other in archive.beside(name) if not is_picture(other)])
        hint = f"; did you mean {guess!r}?" if guess else ""
        raise UserError(f"{setting}={name}: {error.message}{hint}") from error


def assemble(config: DataConfig, place: Place, finder: Finder) -> FileSource:
    """The source whose table is at `place` and whose pictures `finder` finds.

    Raises:
        UserError: the table, a list or the settings are wrong, or nothing is left.
    """
    label = posixpath.join(place.archive.label, place.table)
    table = read_table(label, place.data)
    columns = choose_columns(table, config.columns)
    gathered = gather(table, columns, finder)
    entries = list(gathered.entries.values())
    lists = _lists(config, place)
    listed_only: list[str] = []
    if lists:
        members, listed_only = _by_list(place, lists, gathered, finder)
    elif columns.split is not None:
        members = _by_column(label, columns.split, entries)
    else:
        members = _by_share(config, label, entries)
    used = {index for split in members.values() for index in split}
    notes = Notes(
        empty_captions=gathered.empty_captions,
        without_captions=gathered.without_captions,
        in_no_split=tuple(entry.id for index, entry in enumerate(entries) if index not in used),
        listed_only=tuple(listed_only),
        not_in_table=sum(name not in gathered.files for name in finder.pictures()),
    )
    records = Records(entries)
    usual = [name for name in ("train", "val", "test") if name in members]
    order = dict.fromkeys([*usual, *members])
    splits = {name: FileSplit(name, records, members[name], finder.archive) for name in order}
    return FileSource(config.source, splits, notes)


def _lists(config: DataConfig, place: Place) -> dict[str, str]:
    """The file that lists each split: those of the settings, else Flickr8k's own."""
    if config.splits.lists:
        if config.columns.split is not None:
            raise UserError("data.splits.lists and data.columns.split both choose the splits: drop one of them")
        return _named_lists(config)
    if posixpath.basename(place.table) not in FLICKR_TABLES or config.columns.split is not None:
        return {}
    beside = place.archive.beside(place.table)
    found = [(name, _FLICKR_LIST.fullmatch(posixpath.basename(name))) for name in beside]
    return {split_name(match[1]): name for name, match in found if match}


def _named_lists(config: DataConfig) -> dict[str, str]:
    lists: dict[str, str] = {}
    for label, name in config.splits.lists.items():
        split = split_name(label)
        if split in lists:
            raise UserError(f"data.splits.lists.{label}: split {split!r} has a list already, {lists[split]}")
        lists[split] = inside(f"data.splits.lists.{label}", name)
    return lists


def _by_list(place: Place, lists: dict[str, str], gathered: Gathered, finder: Finder) -> tuple[Members, list[str]]:
    """The members of each split, and the names in the lists that are not in the table."""
    by_file = {file: index for index, file in enumerate(gathered.entries)}
    by_id = {normal(entry.id): index for index, entry in enumerate(gathered.entries.values())}
    flickr = {name for name in lists.values() if _FLICKR_LIST.fullmatch(posixpath.basename(name))}
    members: Members = {}
    listed_only: list[str] = []
    for split, file in lists.items():
        text = decode(file, read_text_file(place.archive, file, f"data.splits.lists.{split}"))
        names = [line.strip() for line in text.split("\n") if line.strip()]
        indices = set()
        for name in names:
            index = by_id.get(normal(name))
            index = by_file.get(finder.find(name)) if index is None else index
            if index is None:
                listed_only.append(name)
            else:
                indices.add(index)
        if indices:
            members[split] = sorted(indices)
        elif file not in flickr:  # parts of Flickr8k go round with all of its lists
            first = f", the first one is {names[0]!r}" if names else ""
            raise UserError(f"{file}: none of its {len(names)} names is in {place.table}{first}")
    if not members:
        raise UserError(f"{', '.join(lists.values())}: none of their names is in {place.table}")
    return members, listed_only


def _by_column(label: str, column: str, entries: Iterable[Entry]) -> Members:
    members: Members = {}
    for index, entry in enumerate(entries):
        for split in dict.fromkeys(split_name(label) for label in entry.labels if label):
            members.setdefault(split, []).append(index)
    if not members:
        raise UserError(f"{label}: column {column!r} is empty, so no picture is in any split")
    return members


def _by_share(config: DataConfig, label: str, entries: Iterable[Entry]) -> Members:
    members: Members = {"train": [], "val": [], "test": []}
    for index, entry in enumerate(entries):
        members[share_split(config.splits, normal(entry.id))].append(index)
    if not members["train"]:
        raise UserError(f"{label}: no picture is left to train on; lower data.splits.val or data.splits.test")
    return {name: split for name, split in members.items() if split}
