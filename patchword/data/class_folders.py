"""Classes that no table names: folders of pictures (`train/cat/1.jpg`, `cat/1.jpg`), or names (`cat.0.jpg`)."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from patchword.data.archives import Archive
from patchword.data.file_source import Entry
from patchword.data.finder import is_picture
from patchword.data.gather import Gathered
from patchword.data.splits import said_split

_NAMED = re.compile(r"([^.]+)\.[^.]+\.[^.]+")


class _Found(NamedTuple):
    """A picture, and what its path says."""

    name: str
    split: str | None
    folders: tuple[str, ...]
    """Those below the ones that all pictures share and the one that says the split."""


def gather_classes(archive: Archive, prefix: str = "") -> Gathered | None:
    """The pictures of an archive (below `prefix`) with their classes; None: neither folders nor names tell any.

    Folders named after splits (train, val, test, or with a number: train-00) say these. A class is the folder below
    them, or below what all pictures share; folders inside of it mean nothing. Where no picture is in such a folder, it
    is what a name says before its first dot, if there are two or more in all. The order is one that mixes classes, for
    an evaluation may look at the first records only; it depends on the names alone.
    """
    names = [name for name in archive.names if is_picture(name) and name.startswith(prefix)]
    found = list(_found(sorted(names, key=_mixed)))
    for says in (_by_folder, _by_name):
        entries = {
            each.name: Entry(each.name, each.name, {"label": [label]}, {each.split: None} if each.split else {})
            for each in found
            if (label := says(each)) is not None
        }
        if entries:
            return Gathered(entries, archive, not_in_table=len(found) - len(entries))
    return None


def _mixed(name: str) -> bytes:
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _by_folder(found: _Found) -> str | None:
    return found.folders[0] if found.folders else None


def _by_name(found: _Found) -> str | None:
    match = _NAMED.fullmatch(posixpath.basename(found.name))
    return match[1] if match else None


def _found(names: Sequence[str]) -> Iterator[_Found]:
    paths = [tuple(name.split("/")[:-1]) for name in names]
    shared = _shared(paths)
    for name, path in zip(names, paths, strict=True):
        folders = path[shared:]
        split = None
        while folders and (said := said_split(folders[0])) is not None and split in (None, said):
            split, folders = said, folders[1:]  # train-00/train/cat: a tar's name, and the folder in it
        yield _Found(name, split, folders)


def _shared(paths: Sequence[tuple[str, ...]]) -> int:
    """How many folders all paths begin with, up to the first that says a split."""

    count = 0
    for level in zip(*paths, strict=False):
        if len(set(level)) > 1 or said_split(level[0]) is not None:
            break
        count += 1
    return count
