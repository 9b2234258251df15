"""Pictures with their captions, as tasks that compare them learn from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from patchword.config import RunConfig
from patchword.data.base import Split
from patchword.data.batch import BadSample, Batch
from patchword.data.image import BadImage, ImagePipeline
from patchword.data.strings import Strings
from patchword.tasks.pictures import on_canvas
from patchword.tasks.shown import text_input
from patchword.tasks.tokenizers import Tokenizers


class Sides(NamedTuple):
    """Where pictures and texts go in, and where their vectors come out."""

    image: str
    """The picture's tower."""
    text: str
    """The text's tower."""
    rows: str
    """The head that reads pictures off."""
    columns: str
    """The head that reads texts off."""


class Pair(NamedTuple):
    """One picture with some of its captions."""

    id: str
    record: int
    """Its place in the split."""
    pixels: Tensor
    """uint8 [3, height, width]."""
    captions: list[list[int]]
    """Token ids of each, `<bos>` and `<eos>` included."""


class PairExamples:
    """The pictures of a split, each with `together` of its captions at a time; goes to worker processes.

    Captions of like length are put together. A picture with fewer left than `together` has fewer texts in its batch.
    """

    def __init__(
        self, split: Split, run: RunConfig, sides: Sides, tokenizers: Tokenizers, train: bool, together: int
    ) -> None:
        self.split, self.sides, self.train = split, sides, train
        self.pad_id = tokenizers[sides.text].pad_id
        self.pipeline = ImagePipeline(run.data.image, run.train.seed)
        self.groups: list[tuple[int, list[list[int]]]] = []
        names: list[str] = []
        for index in range(len(split)):
            record = split.record(index)
            names.append(record.id)
            ids = sorted((tokenizers.ids(sides.text, text) for text in record.texts["caption"]), key=len)
            self.groups += [(index, ids[i : i + together]) for i in range(0, len(ids), together)]
        self.names = Strings(names)  # asked for with every picture: a source may have to make its texts first
        self.answers = np.zeros(0, dtype=np.int64)
        self.lengths = np.array([len(ids[-1]) * together for _, ids in self.groups], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, key: tuple[int, int]) -> Pair | BadSample:
        """Example `key[1]` as epoch `key[0]` sees it."""
        index, captions = self.groups[key[1]]
        name = self.names[index]
        try:
            pixels = self.pipeline(self.split.read(index), name, key if self.train else None)
        except BadImage as error:
            return BadSample(name, error.reason, error.message)
        return Pair(name, index, pixels, captions)

    def collate(self, examples: Sequence[Pair | BadSample]) -> Batch:
        """B pictures on one canvas, M texts padded on the right, and what each is of: `pictures` [B], `texts` [M]."""
        good = [e for e in examples if isinstance(e, Pair)]
        bad = tuple(e for e in examples if isinstance(e, BadSample))
        captions = [ids for e in good for ids in e.captions]
        of = [e.record for e in good for _ in e.captions]
        targets = {
            "pictures": torch.tensor([e.record for e in good], dtype=torch.long),
            "texts": torch.tensor(of, dtype=torch.long),
        }
        inputs = {
            self.sides.image: on_canvas([e.pixels for e in good]),
            self.sides.text: text_input(captions, self.pad_id),
        }
        return Batch(inputs, targets, tuple(e.id for e in good), bad)
