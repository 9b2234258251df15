"""Text that is token ids already: `train.bin` and `val.bin` of unsigned 16-bit numbers, as nanoGPT prepares them.

What the ids mean stands beside them: `tokenizer.json`, or `meta.json`, which is nanoGPT's `meta.pkl` of single
characters without the pickle.
"""

from __future__ import annotations

import json
import os
import posixpath
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from patchword.config import DataConfig, UserError
from patchword.data.archives import Archive, Folder
from patchword.data.base import Record, Split
from patchword.data.decode import BadImage
from patchword.data.splits import split_of_path
from patchword.data.text import Tokenizer
from patchword.data.texts import TextSource, part_name, tail, unsaid

ENDING = ".bin"


class TokenSplit:
    """The token ids of a split, as one stream; where they are a file of a folder, read from it as they are needed."""

    def __init__(self, name: str, parts: Sequence[tuple[str, np.ndarray]]) -> None:
        self.name = name
        self._names = [part for part, _ in parts]
        self.parts = [ids for _, ids in parts]

    def __len__(self) -> int:
        return len(self.parts)

    @property
    def ids(self) -> np.ndarray:
        """uint16 [number of tokens]."""
        return self.parts[0] if len(self.parts) == 1 else np.concatenate(self.parts)

    def record(self, index: int) -> Record:
        """The name of file `index`."""
        return Record(self._names[index], {})

    def read(self, index: int) -> bytes:
        """There are no pictures."""
        raise BadImage("missing", "the data set has no pictures")


class TokenSource(TextSource):
    """Splits of token ids, and what these mean; None: nothing says so."""

    def __init__(self, name: str, splits: Mapping[str, Split], tokenizer: Tokenizer | None) -> None:
        super().__init__(name, splits)
        self.tokenizer = tokenizer


def open_bins(config: DataConfig, archive: Archive, names: Sequence[str]) -> TokenSource:
    """The token ids of these files; splits are found as those of files of text are.

    Raises:
        UserError: a file is empty, holds half a number, or what the ids mean cannot be read.
    """
    files = [(split_of_path(name), name, _ids(archive, name)) for name in sorted(names)]
    shares = unsaid(config.splits, [split for split, _, _ in files if split])
    parts: dict[str, list[tuple[str, np.ndarray]]] = {}
    for said, name, ids in files:
        whole = {said: (0, len(ids))} if said in ("val", "test") else tail(shares, len(ids))
        for split, (start, end) in whole.items():
            part = part_name(name, start, end, len(ids), "tokens")
            parts.setdefault(split, []).append((part, ids[start:end]))
    splits = {name: TokenSplit(name, part) for name, part in parts.items()}
    return TokenSource(config.source, splits, _meaning(archive, posixpath.dirname(min(names))))


def _ids(archive: Archive, name: str) -> np.ndarray:
    place = posixpath.join(archive.label, name)
    path = os.path.join(archive.root, name) if isinstance(archive, Folder) else None
    try:
        size = os.path.getsize(path) if path is not None else len(archive.read(name))
    except (BadImage, OSError) as error:
        raise UserError(f"{place}: {error}") from error
    if not size:
        raise UserError(f"{place}: nothing is in it")
    if size % 2:
        raise UserError(f"{place}: {size} bytes are no whole number of tokens of 2 bytes (unsigned, low byte first)")
    if path is not None:
        return np.memmap(path, dtype="<u2", mode="r")
    return np.frombuffer(archive.read(name), dtype="<u2")


def _meaning(archive: Archive, folder: str) -> Tokenizer | None:
    for name, reader in (("tokenizer.json", _tokenizer), ("meta.json", _meta), ("meta.pkl", _refuse)):
        path = posixpath.join(folder, name)
        if archive.has(path):
            return reader(posixpath.join(archive.label, path), archive.read(path))
    return None


def _refuse(place: str, data: bytes) -> Tokenizer:
    del data
    program = "import json, pickle; json.dump(pickle.load(open('meta.pkl', 'rb')), open('meta.json', 'w'))"
    raise UserError(f'{place}: a pickle may hold any program and is not read; write it anew: python -c "{program}"')


def _tokenizer(place: str, data: bytes) -> Tokenizer:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tokenizer.json"
        file.write_bytes(data)
        try:
            return Tokenizer.load(file, special_tokens=False)
        except UserError as error:
            raise UserError(str(error).replace(str(file), place)) from error


def _meta(place: str, data: bytes) -> Tokenizer:
    try:
        found = json.loads(data)["itos"]
        symbols = [found[str(i)] for i in range(len(found))]  # JSON's keys are texts
        if not symbols or not all(isinstance(symbol, str) and len(symbol) == 1 for symbol in symbols):
            raise ValueError("itos should give one character for each id")
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise UserError(f"{place}: not the characters of a nanoGPT data set ({error!r})") from error
    return Tokenizer.of_characters(symbols)
