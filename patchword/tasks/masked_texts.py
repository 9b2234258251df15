"""What masked language modelling learns from: texts, or pieces of them, with some tokens hidden."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch

from patchword.config import MaskedLanguageTaskConfig, RunConfig
from patchword.data.base import Split
from patchword.data.batch import Batch
from patchword.data.text import Tokenizer
from patchword.tasks.shown import text_input

SPECIALS = 4
"""Padding, start, end, and <unk>, which stands for what is hidden: the first ids."""
_EVAL_EPOCH = 1 << 30  # whose masks evaluation looks through: no training comes that far


class Example(NamedTuple):
    """One text, or a piece of a long one."""

    id: str
    shown: list[int]
    """Token ids with the chosen ones hidden, changed or left."""
    true: list[int]
    """Those that were there."""
    chosen: list[int]
    """Places that are predicted."""


class Hides(Protocol):
    """What a task tells of itself."""

    config: MaskedLanguageTaskConfig
    run: RunConfig
    text: str
    """The tower that reads."""
    tokenizer: Tokenizer

    def pieces(self, text: str) -> Iterator[list[int]]:
        """Token ids of a text, in pieces that the tower can place."""
        ...


class MaskedTexts:
    """The texts of a split, long ones in pieces; what is hidden is drawn from (seed, epoch, index) alone."""

    def __init__(self, split: Split, task: Hides, train: bool) -> None:
        self.config, self.seed, self.train = task.config, task.run.train.seed, train
        self.vocab_size, self.pad_id, self.mask_id = len(task.tokenizer), task.tokenizer.pad_id, task.tokenizer.unk_id
        self.text = task.text
        self.names: list[str] = []
        self.pieces: list[list[int]] = []
        for index in range(len(split)):
            record = split.record(index)
            for text in record.texts[self.config.field]:
                for piece in task.pieces(text):
                    self.names.append(record.id)
                    self.pieces.append(piece)
        self.lengths = np.array([len(piece) for piece in self.pieces], dtype=np.int64)
        self.answers = np.zeros(0, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, key: tuple[int, int]) -> Example:
        """Example `key[1]` as epoch `key[0]` sees it."""
        epoch, index = key
        true = self.pieces[index]
        rng = np.random.default_rng([self.seed, epoch if self.train else _EVAL_EPOCH, index])
        able = np.array([place for place, token in enumerate(true) if token >= SPECIALS])
        chosen = np.sort(rng.permutation(able)[: max(1, round(self.config.share * len(able)))]).tolist()
        shown = list(true)
        for place, fate in zip(chosen, rng.random(len(chosen)), strict=True):
            if fate < self.config.masked:
                shown[place] = self.mask_id
            elif fate < self.config.masked + self.config.changed:
                shown[place] = int(rng.integers(SPECIALS, self.vocab_size))
        return Example(self.names[index], shown, true, chosen)

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Texts padded on the right; `true`, int [B, T], are their tokens, `chosen`, bool [B, T], those predicted."""
        true = text_input([e.true for e in examples], self.pad_id).ids
        chosen = torch.zeros_like(true, dtype=torch.bool)
        for row, example in zip(chosen, examples, strict=True):
            row[example.chosen] = True
        inputs = {self.text: text_input([e.shown for e in examples], self.pad_id)}
        return Batch(inputs, {"true": true, "chosen": chosen}, tuple(e.id for e in examples))
