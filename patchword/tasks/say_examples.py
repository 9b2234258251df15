"""What is learnt by tasks that say a text: samples with some of what is said of each, as batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from torch import Tensor

from patchword.config import RunConfig
from patchword.data.base import Record, Split
from patchword.data.batch import BadSample, Batch
from patchword.data.image import BadImage, ImagePipeline
from patchword.data.strings import Strings
from patchword.data.text import Tokenizer
from patchword.sequence import TextInput
from patchword.tasks.shown import Reads, Shown, text_input


class Saying(NamedTuple):
    """One text to learn, and what is read before it."""

    reads: Reads
    """Token ids that each reading tower gets."""
    says: list[int]
    """Token ids of the text, `<bos>` and `<eos>` included."""


class Example(NamedTuple):
    """One sample with some of what is said of it."""

    id: str
    pixels: Tensor | None
    """uint8 [3, height, width]; None: the task sees no pictures."""
    sayings: list[Saying]


class Says(Protocol):
    """What a task tells of itself."""

    run: RunConfig
    text: str
    """The tower of what is said."""
    tokenizer: Tokenizer
    shown: Shown

    def sayings(self, record: Record) -> list[Saying]:
        """Every text of a record."""
        ...


class SayExamples:
    """The samples of a split, each with `together` of its texts at a time; goes to worker processes.

    Texts of like length are put together, so that little is padded. A sample with fewer left than `together` gets
    empty ones, which have no part in the loss.
    """

    def __init__(self, split: Split, task: Says, train: bool, together: int) -> None:
        self.split, self.train, self.together, self.shown = split, train, together, task.shown
        self.text, self.pad_id = task.text, task.tokenizer.pad_id
        self.pipeline = ImagePipeline(task.run.data.image, task.run.train.seed)
        self.groups: list[tuple[int, list[Saying]]] = []
        names: list[str] = []
        for index in range(len(split)):
            record = split.record(index)
            names.append(record.id)
            sayings = sorted(task.sayings(record), key=lambda own: len(own.says))
            self.groups += [(index, sayings[i : i + together]) for i in range(0, len(sayings), together)]
        self.names = Strings(names)  # asked for with every picture: a source may have to make its texts first
        self.answers = np.zeros(0, dtype=np.int64)
        self.lengths = np.array([_length(sayings) * together for _, sayings in self.groups], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, key: tuple[int, int]) -> Example | BadSample:
        """Example `key[1]` as epoch `key[0]` sees it."""
        index, sayings = self.groups[key[1]]
        name = self.names[index]
        if self.shown.image is None:
            return Example(name, None, sayings)
        try:
            pixels = self.pipeline(self.split.read(index), name, key if self.train else None)
        except BadImage as error:
            return BadSample(name, error.reason, error.message)
        return Example(name, pixels, sayings)

    def collate(self, examples: Sequence[Example | BadSample]) -> Batch:
        """B pictures on one canvas, B x `together` texts padded on the right."""
        good = [e for e in examples if isinstance(e, Example)]
        bad = tuple(e for e in examples if isinstance(e, BadSample))
        nothing = Saying({}, [])
        rows = [s for e in good for s in [*e.sayings, *[nothing] * (self.together - len(e.sayings))]]
        says = text_input([row.says for row in rows], self.pad_id)
        assert says.valid is not None
        predicted = says.valid[:, 1:]  # the last real token has nothing to predict
        inputs = self.shown.inputs([e.pixels for e in good if e.pixels is not None], [row.reads for row in rows])
        inputs[self.text] = TextInput(says.ids[:, :-1], predicted)
        targets = {"said": says.ids[:, 1:], "predicted": predicted}
        return Batch(inputs, targets, tuple(e.id for e in good), bad)


def _length(sayings: Sequence[Saying]) -> int:
    read = max((sum(map(len, own.reads.values())) for own in sayings), default=0)
    return len(sayings[-1].says) + read
