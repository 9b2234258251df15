"""What is learnt by tasks whose answer is a class: what is asked about samples, with the right class, as batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from patchword.config import RunConfig
from patchword.data.base import Record, Split
from patchword.data.batch import BadSample, Batch
from patchword.data.image import BadImage, ImagePipeline
from patchword.data.strings import Strings
from patchword.tasks.asked import Asked, asked_name
from patchword.tasks.labels import UNSEEN, Labels
from patchword.tasks.shown import Reads, Shown


class Example(NamedTuple):
    """One thing asked, and its class."""

    id: str
    pixels: Tensor | None
    """uint8 [3, height, width]; None: the task sees no pictures."""
    reads: Reads
    """Token ids that each reading tower gets."""
    label: int
    """The class's number; -1: training has no such class."""


class Chooses(Protocol):
    """What a task tells of itself."""

    config: Any
    run: RunConfig
    labels: Labels
    shown: Shown

    def asked(self, config: Any, record: Record) -> Sequence[Asked]:
        """What a model is asked about a record."""
        ...

    def truth(self, asked: Asked) -> str:
        """The class that is right."""
        ...


class ChooseExamples:
    """What is asked about the records of a split, with the classes that are right; goes to worker processes.

    In training, what is of no class that a model can say has no part.
    """

    def __init__(self, split: Split, task: Chooses, train: bool) -> None:
        self.split, self.train, self.shown = split, train, task.shown
        self.pipeline = ImagePipeline(task.run.data.image, task.run.train.seed)
        records, names, truths, groups, texts = [], [], [], [], []
        self.reads: list[Reads] = []
        self.asked: list[tuple[str, ...]] = []
        for index in range(len(split)):
            record = split.record(index)
            every = task.asked(task.config, record)
            for number, own in enumerate(every):
                truth = task.truth(own)
                if train and task.labels.number(truth) == UNSEEN:
                    continue
                records.append(index)
                names.append(asked_name(record.id, number, len(every)))
                truths.append(truth)
                groups.append(own.group)
                texts.append("\n".join(own.reads.values()))
                self.reads.append(task.shown.ids(own.reads))
                self.asked.append(own.answers)
        self.records = np.array(records, dtype=np.int64)
        self.names, self.truths, self.texts = Strings(names), Strings(truths), Strings(texts)
        self.groups: list[str | None] = groups
        self.answers = np.array([task.labels.number(name) for name in truths], dtype=np.int64)
        self.lengths = np.array([sum(map(len, own.values())) for own in self.reads], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.answers)

    def __getitem__(self, key: tuple[int, int]) -> Example | BadSample:
        """Example `key[1]` as epoch `key[0]` sees it."""
        index = key[1]
        name, pixels = self.names[index], None
        if self.shown.image is not None:
            try:
                pixels = self.pipeline(self.split.read(int(self.records[index])), name, key if self.train else None)
            except BadImage as error:
                return BadSample(name, error.reason, error.message)
        return Example(name, pixels, self.reads[index], int(self.answers[index]))

    def collate(self, examples: Sequence[Example | BadSample]) -> Batch:
        """B pictures on one canvas, B texts a reading tower, and classes, int [B]."""
        good = [e for e in examples if isinstance(e, Example)]
        bad = tuple(e for e in examples if isinstance(e, BadSample))
        labels = torch.tensor([e.label for e in good], dtype=torch.long)
        inputs = self.shown.inputs([e.pixels for e in good if e.pixels is not None], [e.reads for e in good])
        return Batch(inputs, {"label": labels}, tuple(e.id for e in good), bad)
