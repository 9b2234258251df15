"""Samples as pairs of files, a picture and a JSON of its name (`7.jpg`, `7.json`), as WebDataset's tars hold them."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from patchword.config import UserError
from patchword.data.archives import Archive
from patchword.data.decode import BadImage
from patchword.data.finder import is_picture
from patchword.data.json_text import read_object
from patchword.data.tables import ObjectsTable

_NOT_ONE = ": it is to say something of the picture beside it; if it is the table of all, choose it with data.table="


def sample_files(archive: Archive, prefix: str = "") -> list[str]:
    """The JSON files that say something of one picture each: all those in folders where one lies beside its picture."""
    said = [name for name in archive.names if name.lower().endswith(".json") and name.startswith(prefix)]
    if not said:
        return []
    pictures = {_key(name) for name in archive.names if is_picture(name)}
    folders = {posixpath.dirname(name) for name in said if _key(name) in pictures}
    return [name for name in said if posixpath.dirname(name) in folders]


def sample_tables(archive: Archive, prefix: str = "") -> dict[str, ObjectsTable]:
    """Samples as rows, a table a folder (of several tars: a tar), by the folder's name.

    A row is what the JSON says, and under `image` the picture beside it.

    Raises:
        UserError: a JSON is none, or no object.
    """
    by_folder: dict[str, list[str]] = defaultdict(list)
    for name in sample_files(archive, prefix):
        by_folder[posixpath.dirname(name)].append(name)
    pictures = {_key(name): name for name in archive.names if is_picture(name)} if by_folder else {}
    tables = {}
    for folder, names in by_folder.items():
        label = posixpath.join(archive.label, folder) if folder else archive.label
        rows = [(i, _sample(archive, name, pictures)) for i, name in enumerate(names, 1)]
        tables[folder] = ObjectsTable(label, "sample", rows)
    return tables


def _sample(archive: Archive, name: str, pictures: Mapping[str, str]) -> Mapping[str, Any]:
    where = posixpath.join(archive.label, name)
    try:
        data = archive.read(name)
    except BadImage as error:
        raise UserError(f"{where}: {error.message}") from error
    content = read_object(where, data, _NOT_ONE)
    return {**content, "image": pictures.get(_key(name), f"{_key(name)}.jpg")}  # one that is missing is counted as such


def _key(name: str) -> str:
    """What the files of a sample have in common: the path without its last ending."""
    return posixpath.splitext(name)[0]
