"""Random pictures with given texts, and a retrieval task on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from toy_sources import ToySource, ToySplit

from patchword.config import RunConfig
from patchword.data.base import Split
from patchword.data.batch import Batch
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


def pairs(texts: Sequence[tuple[str, ...]] = CAPTIONS, field: str = "caption", broken: int | None = None) -> ToySource:
    """Training and validation on the same texts; of validation, picture `broken` cannot be read."""
    said = [{field: own} for own in texts]
    return ToySource(ToySplit("train", said), ToySplit("val", said, broken))


def prepared(changes: Mapping[str, Any] | None = None, source: ToySource | None = None) -> tuple[RetrievalTask, Model]:
    run: RunConfig = load_config("clip-tiny", TOY | {"data.tokenizer.min_frequency": 1} | dict(changes or {}))
    task = RetrievalTask.prepare(run, source or pairs())
    return task, task.model_config().build().eval()


def batch_of(task: Task, split: Split, picked: Sequence[int] | None = None) -> Batch:
    examples = task.examples(split, train=False)
    return examples.collate([examples[0, i] for i in picked or range(len(examples))])
