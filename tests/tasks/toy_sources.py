"""Random pictures with given texts, as a source of data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from patchword.data.base import Record, Split
from patchword.data.image import BadImage

Texts = Mapping[str, tuple[str, ...]]
"""What is said of one picture, by field."""


class ToySplit:
    """Random pictures with given texts; picture `broken` cannot be read."""

    def __init__(self, name: str, texts: Sequence[Texts], broken: int | None = None) -> None:
        self.name, self.texts, self.broken = name, texts, broken
        self.pictures = np.random.default_rng(len(texts)).integers(0, 256, (len(texts), 20, 24, 3), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.texts)

    def record(self, index: int) -> Record:
        return Record(f"{self.name}-{index}", self.texts[index])

    def read(self, index: int) -> np.ndarray:
        if index == self.broken:
            raise BadImage("truncated", "the file ends early")
        return self.pictures[index]


class ToySource:
    """Such splits; what is true and which groups there are is said of a picture's number."""

    name = "toy"
    has_pictures = True

    def __init__(
        self,
        *splits: ToySplit,
        true: Callable[[int], bool | None] = lambda _: None,
        group: Callable[[int], str | None] = lambda _: None,
    ) -> None:
        self.splits: Mapping[str, Split] = {split.name: split for split in splits}
        self._true, self._group = true, group

    def describes(self, split: str, index: int, caption: str) -> bool | None:
        return self._true(index)

    def group(self, split: str, index: int) -> str | None:
        return self._group(index)
