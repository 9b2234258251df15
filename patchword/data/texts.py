"""Running text: files whose lines and blanks stay as they are (`input.txt`, `train.txt.gz`), for language modelling."""

from __future__ import annotations

import gzip
import posixpath
import zlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from patchword.config import DataConfig, SplitsConfig, UserError
from patchword.data.archives import Archive
from patchword.data.base import Record, Split
from patchword.data.decode import BadImage
from patchword.data.file_source import Notes
from patchword.data.json_text import decode
from patchword.data.splits import Splits, split_of_path
from patchword.data.strings import Strings
from patchword.data.tables import is_table

ENDINGS = (".txt", ".txt.gz")
"""Ends of the names of files of text."""


class Document(NamedTuple):
    """One text, or a part of one."""

    id: str
    text: str


class TextSplit:
    """The texts of a split, in order."""

    def __init__(self, name: str, documents: Sequence[Document]) -> None:
        self.name = name
        self._ids = Strings(document.id for document in documents)
        self._texts = Strings(document.text for document in documents)

    def __len__(self) -> int:
        return len(self._ids)

    def record(self, index: int) -> Record:
        """Text `index`."""
        if not 0 <= index < len(self):
            raise IndexError(f"text {index} of the {len(self)} in split {self.name!r}")
        return Record(self._ids[index], {"text": (self._texts[index],)})

    def read(self, index: int) -> bytes:
        """There are no pictures."""
        raise BadImage("missing", "the data set has no pictures")


class TextSource:
    """Splits of running text."""

    has_pictures = False

    def __init__(self, name: str, splits: Mapping[str, Split], notes: Notes | None = None) -> None:
        self.name, self.notes = name, notes or Notes()
        usual = [split for split in ("train", "val", "test") if split in splits]
        order = dict.fromkeys([*usual, *splits])
        self.splits: Mapping[str, Split] = Splits(name, {split: splits[split] for split in order})

    def describes(self, split: str, index: int, caption: str) -> bool | None:
        """None: a text is not of anything."""
        del split, index, caption

    def group(self, split: str, index: int) -> str | None:
        """None: texts are all alike."""
        del split, index


def is_text(name: str) -> bool:
    """Whether a file's name is that of a text."""
    return name.lower().endswith(ENDINGS) and not is_table(name)


def open_texts(config: DataConfig, archive: Archive, names: Sequence[str]) -> TextSource:
    """The texts of these files.

    A file whose name, or whose folder's, says a split belongs to it. Of all others, and of a training file without a
    validation or test file beside it, the last shares become those: first `data.splits.val`, then `data.splits.test`.

    Raises:
        UserError: a file cannot be read or is no UTF-8, or nothing is left to train on.
    """
    _refuse(config)
    documents = [(split_of_path(name), Document(name, _read(archive, name))) for name in sorted(names)]
    empty = tuple(document.id for _, document in documents if not document.text)
    if len(empty) == len(documents):
        raise UserError(f"{archive.label}: {', '.join(empty[:5])}: nothing is in it")
    parts: dict[str, list[Document]] = {"train": [], "val": [], "test": []}
    shares = unsaid(config.splits, [split for split, _ in documents if split])
    for said, document in documents:
        if said in ("val", "test"):
            parts[said].append(document)
            continue
        for split, (start, end) in tail(shares, len(document.text)).items():
            name = part_name(document.id, start, end, len(document.text), "characters")
            parts[split].append(Document(name, document.text[start:end]))
    splits = {name: TextSplit(name, [d for d in part if d.text]) for name, part in parts.items()}
    found = {name: split for name, split in splits.items() if len(split)}
    if not found:
        raise UserError(f"{archive.label}: no text is left; lower data.splits.val or data.splits.test")
    return TextSource(config.source, found, Notes(without_texts=empty))


def unsaid(config: SplitsConfig, said: Sequence[str]) -> SplitsConfig:
    """The shares of what no name says: none of a split that a name does."""
    return config.replace(val=0.0 if "val" in said else config.val, test=0.0 if "test" in said else config.test)


def tail(shares: SplitsConfig, length: int) -> dict[str, tuple[int, int]]:
    """Where in something of that length the parts are: training first, then validation and test."""
    val = int(length * (1 - shares.val - shares.test))
    test = int(length * (1 - shares.test))
    found = {"train": (0, val), "val": (val, test), "test": (test, length)}
    return {name: part for name, part in found.items() if part[0] < part[1]}


def part_name(name: str, start: int, end: int, length: int, unit: str) -> str:
    """What a part of a file is called; all of it: as the file is."""
    return name if end - start == length else f"{name}, {unit} {start} to {end}"


def _refuse(config: DataConfig) -> None:
    for name, column in config.columns.to_dict().items():
        if column is not None:
            raise UserError(f"data.columns.{name}={column}: files of text have no columns")
    if config.splits.lists:
        raise UserError("data.splits.lists: files of text are not listed; call them train.txt, val.txt and test.txt")
    for name in ("table", "images"):
        if getattr(config, name) is not None:
            raise UserError(f"data.{name}={getattr(config, name)}: there are only files of text in {config.source}")


def _read(archive: Archive, name: str) -> str:
    place = posixpath.join(archive.label, name)
    try:
        data = archive.read(name)
        if name.lower().endswith(".gz"):
            data = gzip.decompress(data)
    except BadImage as error:
        raise UserError(f"{place}: {error.message}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{place}: damaged or cut short ({error})") from error
    return decode(place, data)
