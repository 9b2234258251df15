"""Captions some of which are another picture's, and a label that says which are right."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np

from patchword.config import Fields, SwappedMatchingConfig, UserError
from patchword.data.base import Record, Split
from patchword.data.file_source import NotedSource
from patchword.data.splits import Splits

RIGHT, WRONG = "yes", "no"
"""The label of a caption that belongs to its picture, and of one that does not."""
_TRIES = 100


def captions_alone(fields: Fields) -> Fields:
    """What a source has to give so that labels can be made of it.

    Raises:
        UserError: who reads it wants no captions with labels.
    """
    if not {"caption", "label"} <= set(fields.names):
        raise UserError("data.matching makes captions with labels: this task reads no such pairs (classification does)")
    required, optional = (tuple(n for n in names if n != "label") for names in (fields.required, fields.optional))
    return Fields(required, optional, fields.image)


class MatchedSource:
    """A source with its captions, of which a share is exchanged for one of another picture of the same split."""

    def __init__(self, source: NotedSource, config: SwappedMatchingConfig) -> None:
        self.name, self.notes, self.has_pictures = source.name, source.notes, source.has_pictures
        self._source = source
        self.splits: Mapping[str, Split] = Splits(
            self.name, {name: MatchedSplit(split, config) for name, split in source.splits.items()}
        )

    def describes(self, split: str, index: int, caption: str) -> None:
        """None: whether a caption is true is what is asked here."""
        del split, index, caption

    def group(self, split: str, index: int) -> str | None:
        """As the source has it."""
        return self._source.group(split, index)


class MatchedSplit:
    """A split whose captions are right or wrong, each by a draw from (seed, split, record, place) alone."""

    def __init__(self, split: Split, config: SwappedMatchingConfig) -> None:
        self.name = split.name
        self._split, self._config = split, config

    def __len__(self) -> int:
        return len(self._split)

    def record(self, index: int) -> Record:
        """Record `index`: its captions, some exchanged, and the label of each."""
        own = self._split.record(index)
        captions, labels = [], []
        for place, caption in enumerate(own.texts["caption"]):
            draws = self._draws(f"{own.id}/{place}")
            swapped = next(draws) < self._config.share
            captions.append(self._foreign(index, own, draws) if swapped else caption)
            labels.append(WRONG if swapped else RIGHT)
        return Record(own.id, {**own.texts, "caption": tuple(captions), "label": tuple(labels)})

    def read(self, index: int) -> bytes | np.ndarray:
        """The picture of record `index`."""
        return self._split.read(index)

    def _foreign(self, index: int, own: Record, draws: Iterator[float]) -> str:
        """A caption of another record that is none of this one's, too."""
        for _ in range(_TRIES if len(self) > 1 else 0):
            other = (index + 1 + int(next(draws) * (len(self) - 1))) % len(self)
            captions = self._split.record(other).texts["caption"]
            caption = captions[int(next(draws) * len(captions))]
            if caption not in own.texts["caption"]:
                return caption
        raise UserError(
            f"data.matching: split {self.name!r} has no caption of another picture to exchange {own.id}'s for"
        )

    def _draws(self, name: str) -> Iterator[float]:
        """Numbers from 0 to 1, without end."""
        for number in range(1_000_000):
            text = f"{self._config.seed}/{self.name}/{name}/{number}".encode("utf-8", "surrogatepass")
            yield int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) / 2**64
