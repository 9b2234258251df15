"""Who is in which split: the first that applies of lists, a column, names of folders and files, and a seeded share."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from typing import NamedTuple

from patchword.config import DataConfig, SplitsConfig, UserError, nearest
from patchword.data.archives import Archive
from patchword.data.decode import BadImage
from patchword.data.file_source import Entry
from patchword.data.finder import is_picture
from patchword.data.gather import Gathered
from patchword.data.json_text import decode
from patchword.data.paths import leads_out, normal
from patchword.data.splits import share_split, split_name

FLICKR_TABLES = ("captions.txt", "Flickr8k.token.txt")
"""The captions of Flickr8k, in the two files in which they are found; a folder may have both."""
_FLICKR_LIST = re.compile(r"Flickr_8k\.(train|dev|test)Images\.txt")

Members = dict[str, list[int]]
"""Numbers of the records in each split."""


class Origin(NamedTuple):
    """Where a data set comes from, and where lists of its splits are."""

    archive: Archive
    tables: tuple[str, ...] = ()
    """Their names in it; empty: no table says what there is."""
    column: str | None = None
    """The column that names splits."""

    @property
    def label(self) -> str:
        """What messages call it."""
        return ", ".join(posixpath.join(self.archive.label, name) for name in self.tables) or self.archive.label


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


def allot(config: DataConfig, origin: Origin, gathered: Gathered) -> tuple[Members, list[str]]:
    """The members of each split, and the names in lists that are nobody's.

    Raises:
        UserError: a list or the settings are wrong, or nothing is left to train on.
    """
    entries = list(gathered.entries.values())
    lists = lists_of(config, origin)
    if lists:
        return _by_list(origin, lists, gathered)
    if origin.column is not None:
        return _by_column(origin, entries), []
    if any(entry.splits for entry in entries):
        return _by_name(config.splits, entries), []
    return _by_share(config.splits, origin, entries), []


def lists_of(config: DataConfig, origin: Origin) -> dict[str, str]:
    """The file that lists each split: those of the settings, else Flickr8k's own; empty: no list says splits.

    Raises:
        UserError: the settings contradict one another.
    """
    if config.splits.lists:
        if config.columns.split is not None:
            raise UserError("data.splits.lists and data.columns.split both choose the splits: drop one of them")
        return _named_lists(config)
    table = origin.tables[0] if len(origin.tables) == 1 else ""
    if posixpath.basename(table) not in FLICKR_TABLES or config.columns.split is not None:
        return {}
    found = [(name, _FLICKR_LIST.fullmatch(posixpath.basename(name))) for name in origin.archive.beside(table)]
    return {split_name(match[1]): name for name, match in found if match}


def _named_lists(config: DataConfig) -> dict[str, str]:
    lists: dict[str, str] = {}
    for label, name in config.splits.lists.items():
        split = split_name(label)
        if split in lists:
            raise UserError(f"data.splits.lists.{label}: split {split!r} has a list already, {lists[split]}")
        lists[split] = inside(f"data.splits.lists.{label}", name)
    return lists


def _by_list(origin: Origin, lists: dict[str, str], gathered: Gathered) -> tuple[Members, list[str]]:
    by_file = {file: index for index, file in enumerate(gathered.entries)}
    by_id = {normal(entry.id): index for index, entry in enumerate(gathered.entries.values())}
    flickr = {name for name in lists.values() if _FLICKR_LIST.fullmatch(posixpath.basename(name))}
    what = ", ".join(origin.tables) or origin.archive.label
    members: Members = {}
    listed_only: list[str] = []
    for split, file in lists.items():
        text = decode(file, read_text_file(origin.archive, file, f"data.splits.lists.{split}"))
        names = [line.strip() for line in text.split("\n") if line.strip()]
        indices = set()
        for name in names:
            index = by_id.get(normal(name))
            if index is None and gathered.finder is not None:
                index = by_file.get(gathered.finder.find(name))
            if index is None:
                listed_only.append(name)
            else:
                indices.add(index)
        if indices:
            members[split] = sorted(indices)
        elif file not in flickr:  # parts of Flickr8k go round with all of its lists
            first = f", the first one is {names[0]!r}" if names else ""
            raise UserError(f"{file}: none of its {len(names)} names is in {what}{first}")
    if not members:
        raise UserError(f"{', '.join(lists.values())}: none of their names is in {what}")
    return members, listed_only


def _by_column(origin: Origin, entries: Sequence[Entry]) -> Members:
    members = _said(entries)
    if not members:
        raise UserError(f"{origin.label}: column {origin.column!r} is empty, so no picture is in any split")
    return members


def _by_name(config: SplitsConfig, entries: Sequence[Entry]) -> Members:
    """As names say; of a training part without a validation or test part beside it, a share becomes that."""
    members = _said(entries)
    rest = config.replace(val=0.0 if "val" in members else config.val, test=0.0 if "test" in members else config.test)
    for index in members.pop("train", []):
        members.setdefault(share_split(rest, normal(entries[index].id)), []).append(index)
    return members


def _said(entries: Sequence[Entry]) -> Members:
    members: Members = {}
    for index, entry in enumerate(entries):
        for split in dict.fromkeys(split_name(said) for said in entry.splits):
            members.setdefault(split, []).append(index)
    return members


def _by_share(config: SplitsConfig, origin: Origin, entries: Sequence[Entry]) -> Members:
    members: Members = {"train": [], "val": [], "test": []}
    for index, entry in enumerate(entries):
        members[share_split(config, normal(entry.id))].append(index)
    if not members["train"]:
        things = "sample" if entries and entries[0].file is None else "picture"
        raise UserError(f"{origin.label}: no {things} is left to train on; lower data.splits.val or data.splits.test")
    return {name: split for name, split in members.items() if split}
