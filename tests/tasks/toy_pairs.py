"""Random pictures with given texts, and a retrieval task on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from patchword.config import RunConfig
from patchword.data.base import Record, Split
from patchword.data.batch import Batch
from patchword.data.image import BadImage
from patchword.models.model import Model
from patchword.models.presets import load_config
from patchword.tasks.base import Task
from patchword.tasks.retrieval import RetrievalTask

TOY: dict[str, Any] = {
    "model.image.dim": 32,
    "model.image.depth": 1,
    "model.image.stem": [],
    "model.image.patch_size": [8, 8],
    "model.image.image_size": [16, 16],
    "model.text.dim": 32,
    "model.text.depth": 1,
    "model.text.max_len": 8,
    "model.heads.image.out_dim": 16,
    "model.heads.text.out_dim": 16,
    "data.image.height": 16,
    "data.image.width": 16,
}
CAPTIONS = [
    ("a red dog", "a dog that is red", "red"),
    ("two cats",),
    ("one ape in a tree", "an ape"),
    ("a fish", "it swims"),
    ("a red fish",),
]


class ToySplit:
    """Random pictures with given texts; picture `broken` cannot be read."""

    def __init__(self, name: str, field: str, texts: Sequence[tuple[str, ...]], broken: int | None = None) -> None:
        self.name, self.field, self.texts, self.broken = name, field, texts, broken
        self.pictures = np.random.default_rng(len(texts)).integers(0, 256, (len(texts), 20, 24, 3), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.texts)

    def record(self, index: int) -> Record:
        return Record(f"{self.name}-{index}", {self.field: self.texts[index]})

    def read(self, index: int) -> np.ndarray:
        if index == self.broken:
            raise BadImage("truncated", "the file ends early")
        return self.pictures[index]


class ToySource:
    name = "toy"
    has_pictures = True

    def __init__(
        self, texts: Sequence[tuple[str, ...]] = CAPTIONS, field: str = "caption", broken: int | None = None
    ) -> None:
        self.splits: Mapping[str, Split] = {
            "train": ToySplit("train", field, texts),
            "val": ToySplit("val", field, texts, broken),
        }

    def describes(self, split: str, index: int, caption: str) -> bool | None:
        return None

    def group(self, split: str, index: int) -> str | None:
        return None


def prepared(changes: Mapping[str, Any] | None = None, source: ToySource | None = None) -> tuple[RetrievalTask, Model]:
    run: RunConfig = load_config("clip-tiny", TOY | {"data.tokenizer.min_frequency": 1} | dict(changes or {}))
    task = RetrievalTask.prepare(run, source or ToySource())
    return task, task.model_config().build().eval()


def batch_of(task: Task, split: Split, picked: Sequence[int] | None = None) -> Batch:
    examples = task.examples(split, train=False)
    return examples.collate([examples[0, i] for i in picked or range(len(examples))])
