"""Splits by name, and who belongs to which: by list, by column, or by a seeded share of the pictures."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from patchword.config import SplitsConfig, UserError, unknown

S = TypeVar("S")

_SAME = {
    "training": "train",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "develop": "val",
    "development": "val",
    "testing": "test",
}


def split_name(label: str) -> str:
    """The name of a split that people spell in several ways: train, val, test; others stay, in lower case."""
    label = label.strip().lower()
    return _SAME.get(label, label)


_PART = re.compile(r"([a-z]+)(?:[-_.]?\d+(?:[-_]of[-_]\d+)?)?")


def said_split(name: str) -> str | None:
    """The split that the name of a folder or file says: `train`, `Validation`, `train-00.tar`; None: it says none."""
    match = _PART.fullmatch(name.lower().split(".", 1)[0])
    split = split_name(match[1]) if match else ""
    return split if split in ("train", "val", "test") else None


_AMID = re.compile(r"(?:.*_)?(train|val|test)(?:-dev)?(?:(?:19|20)\d\d(?:_.*)?|_(?:questions|annotations))")


def split_of_path(path: str) -> str | None:
    """The split that a file's name says, also with a year (`mscoco_val2014_questions.json`) or before what is in it
    (`val_questions.json`), else its folder's name."""
    name = posixpath.basename(path)
    amid = _AMID.fullmatch(name.lower().split(".", 1)[0])
    said = amid[1] if amid else said_split(name)
    return said or said_split(posixpath.basename(posixpath.dirname(path)))


def share_split(config: SplitsConfig, name: str) -> str:
    """The split of a picture, from the seed and its name alone: more pictures move none of the others."""
    digest = hashlib.blake2b(f"{config.seed}/{name}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    draw = int.from_bytes(digest) / 2**64
    # test first: another share for validation leaves the test pictures as they are
    if draw < config.test:
        return "test"
    return "val" if draw < config.test + config.val else "train"


class MissingSplitError(UserError, KeyError):
    """A source has no such split."""

    def __str__(self) -> str:  # a KeyError would print the message in quotes
        return str(self.args[0])


class Splits(Mapping[str, S], Generic[S]):
    """Splits by name; to ask for one that is not there is a user's mistake, and says which there are."""

    def __init__(self, source: str, splits: Mapping[str, S]) -> None:
        self._source = source
        self._splits = dict(splits)

    def __getitem__(self, name: str) -> S:
        if name not in self._splits:
            raise MissingSplitError(f"{self._source}: {unknown('split', name, self._splits)} (see data.splits)")
        return self._splits[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._splits)

    def __len__(self) -> int:
        return len(self._splits)
