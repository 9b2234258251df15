"""Folders that `datasets` (Hugging Face) writes with `save_to_disk`: of a split, Arrow streams and a `state.json`."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from patchword.config import UserError
from patchword.data.archives import Folder
from patchword.data.arrow import ArrowTable, errors, needs_pyarrow
from patchword.data.decode import BadImage
from patchword.data.json_text import read_object
from patchword.data.paths import leads_out, tidy
from patchword.data.splits import split_name

_SPLITS, _STATE = "dataset_dict.json", "state.json"


def is_saved(path: Path) -> bool:
    """Whether a folder is one that `save_to_disk` wrote: of several splits, or of one."""
    return (path / _SPLITS).is_file() or ((path / _STATE).is_file() and (path / "dataset_info.json").is_file())


def saved_tables(folder: Folder) -> list[tuple[str | None, ArrowTable]]:
    """The table of each split, and the split's name; None: the folder holds one that has none.

    Raises:
        UserError: pyarrow is missing, or a file is missing or damaged; the message names it.
    """
    needs_pyarrow(folder.label, "a folder that `datasets` saved", "datasets")
    if not folder.has(_SPLITS):
        state = _read(folder, _STATE)
        said = state.get("_split")
        return [(split_name(said) if isinstance(said, str) else None, SavedTable(folder, "", state))]
    names = _read(folder, _SPLITS).get("splits")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise UserError(f"{folder.label}/{_SPLITS}: should name its splits, got {names!r}")
    return [(split_name(name), SavedTable(folder, name, _read(folder, f"{name}/{_STATE}"))) for name in names]


class SavedTable(ArrowTable):
    """One split: streams of record batches, one file after another, mapped into memory.

    Args:
        folder: what `save_to_disk` wrote.
        inner: the split's folder in it; empty: it is the folder itself.
        state: what is in its `state.json`.
    """

    def __init__(self, folder: Folder, inner: str, state: Mapping[str, Any]) -> None:
        label = posixpath.join(folder.label, inner) if inner else folder.label
        self._paths = [str(Path(folder.root) / inner / name) for name in _files(f"{label}/{_STATE}", state)]
        first = next(self._streams(), None)
        if first is None:
            raise UserError(f"{label}/{_STATE}: names no files: the data set is empty")
        super().__init__(label, first.schema)

    def batches(self, columns: Sequence[str]) -> Iterator[Any]:
        """A record batch of each file after another."""
        for stream in self._streams():
            for batch in stream:
                yield batch.select(list(columns))

    def _streams(self) -> Iterator[Any]:
        import pyarrow.ipc

        for path in self._paths:
            try:
                yield pyarrow.ipc.open_stream(pyarrow.memory_map(path))
            except errors() as error:
                raise UserError(f"{path}: not an Arrow stream, or damaged ({error})") from error


def _files(name: str, state: Mapping[str, Any]) -> list[str]:
    """The streams that a `state.json` names, which lie beside it."""
    found = state.get("_data_files")
    entries = found if isinstance(found, list) else [None]
    names = [
        entry["filename"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("filename"), str)
    ]
    if len(names) < len(entries):
        raise UserError(f'{name}: "_data_files" should be a list of {{"filename": ...}}')
    for each in names:
        if leads_out(tidy(each)):
            raise UserError(f"{name}: {each!r} is not in its folder, which is not followed")
    return names


def _read(folder: Folder, name: str) -> Mapping[str, Any]:
    place = f"{folder.label}/{name}"
    try:
        data = folder.read(name)
    except BadImage as error:
        raise UserError(f"{place}: {error.message}") from error
    return read_object(place, data)
