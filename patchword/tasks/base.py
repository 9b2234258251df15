"""What a task is: the only thing that the trainer, the evaluator and the server talk to.

A task joins data and a model: how a record becomes an example, examples a batch, a batch a loss, and a model's output
a metric and a prediction. The model knows nothing of any of this.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from torch import Tensor, nn

from patchword.config import ModelConfig, RunConfig, UserError
from patchword.data.base import Source, Split
from patchword.data.batch import BadSample, Batch
from patchword.tasks.metrics import Confusion


class LossOutput(NamedTuple):
    """A sum and what to divide it by, so that accumulation and ranks add up exactly."""

    total: Tensor
    """Sum over items, a scalar in nats."""
    count: Tensor  # pyright: ignore[reportIncompatibleMethodOverride] - nobody counts in a pair of tensors
    """Number of items in the sum, a scalar."""


class Prediction(NamedTuple):
    """What a model said of one sample, for people and reports."""

    id: str
    """The sample's name."""
    text: str
    """What the model said."""
    references: tuple[str, ...] = ()
    """What people said, where that is known."""
    correct: bool | None = None
    """Whether it is right, where the data knows."""
    score: float | None = None
    """Log-probability in nats of what was said."""
    group: str | None = None
    """What the sample is counted with when metrics are also given by group."""
    choices: tuple[tuple[str, float], ...] = ()
    """The likeliest answers and how likely each is (0 to 1), where there are few to choose from."""
    task: str | None = None
    """Which of several tasks said it; None: there is one."""
    read: str | None = None
    """The text that it is said of, where there is one."""


class Query(NamedTuple):
    """A new sample that a model is asked about."""

    id: str
    """What to call it."""
    picture: Tensor | None = None
    """uint8 [3, height, width]."""
    text: str | None = None
    """What is said along with it; what that means is the task's."""


class Evaluation(NamedTuple):
    """How good a model is on a split."""

    metrics: dict[str, float]
    """By name; `loss` in nats is always there."""
    count: int  # pyright: ignore[reportIncompatibleMethodOverride]
    """Samples looked at."""
    predictions: list[Prediction]
    """What was said of each."""
    bad: tuple[BadSample, ...] = ()
    """Samples that could not be read."""
    confusion: Confusion | None = None
    """Which classes were taken for which, where there are classes."""


class Examples(Protocol):
    """A split as a task learns from it; goes to worker processes."""

    lengths: np.ndarray
    """Text tokens of each example, int [number of examples]."""
    answers: np.ndarray
    """What is to be said of each, int, where it is a number; else empty. With `lengths` it tells data from other."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: tuple[int, int]) -> Any:
        """Example `key[1]` as epoch `key[0]` sees it (augmentation depends on nothing else), or a `BadSample`."""
        ...

    def collate(self, examples: Sequence[Any]) -> Batch:
        """Examples side by side; bad ones are listed in `Batch.bad`."""
        ...


class Task(ABC):
    """One way of learning from data. Holds what was learnt about the data (a tokenizer, an answer list), no weights."""

    @classmethod
    @abstractmethod
    def prepare(cls, run: RunConfig, source: Source) -> Self:
        """The task for this run, having looked at the training split once (to make a tokenizer, for example)."""

    @classmethod
    @abstractmethod
    def load(cls, run: RunConfig, folder: Path) -> Self:
        """The task as `save` left it in `folder`."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write what was learnt about the data (`tokenizer.json`, ...) into `folder`."""

    @abstractmethod
    def model_config(self) -> ModelConfig:
        """The run's model with what the data decides (the size of the vocabulary) filled in."""

    @abstractmethod
    def examples(self, split: Split, train: bool) -> Examples:
        """A split as this task learns from it; `train` turns augmentation on."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> LossOutput:
        """The loss of a batch; what is minimised is total / count."""

    @classmethod
    @abstractmethod
    def full_batch(cls, run: RunConfig, size: int) -> Batch:
        """`size` made-up samples with every place filled: what sizing takes the cost of, without a look at the data."""

    @classmethod
    @abstractmethod
    def rehearse(cls, run: RunConfig, model: nn.Module, batch: Batch) -> Tensor:
        """The mean loss of such a batch, a scalar; no tensor's values are looked at."""

    @classmethod
    @abstractmethod
    def rehearse_generation(cls, run: RunConfig, model: nn.Module, batch: Batch) -> object:
        """Say what there is to say of every sample of such a batch, as long as can be.

        Raises:
            UserError: this task says nothing token by token.
        """

    @abstractmethod
    def evaluate(self, model: nn.Module, source: Source, split: str, limit: int | None, device: str) -> Evaluation:
        """Metrics over the first `limit` records of a split (None: all); `model` is in eval mode."""

    @abstractmethod
    def predict(self, model: nn.Module, queries: Sequence[Query], device: str) -> list[Prediction]:
        """What the model says of new samples, in their order; `model` is in eval mode.

        Raises:
            UserError: a query lacks what this task reads, or has what it does not.
        """

    def embed(
        self, model: nn.Module, pictures: Sequence[Tensor], texts: Sequence[str], device: str
    ) -> tuple[Tensor, Tensor]:
        """Vectors of pictures (uint8 [3, h, w]) and of texts, float32 [n, D] each, in one space.

        Raises:
            UserError: this task makes no vectors.
        """
        del model, pictures, texts, device
        raise UserError("this run makes no vectors: a retrieval run does")

    def attention(self, model: nn.Module, pixels: Tensor, said: str) -> list[tuple[str, np.ndarray]] | None:
        """Where in a picture (uint8 [3, h, w]) the model looks as it says each word: float [rows, columns] a word.

        None: this task or model cannot say.
        """
        del model, pixels, said
