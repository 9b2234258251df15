"""A run's own step of training, as it is rehearsed to learn its cost: the learner itself, on made-up full batches."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from patchword.config import RunConfig
from patchword.data.batch import Batch
from patchword.models.create import planned_model
from patchword.sizing.tracing.compiled import CompiledRehearsal
from patchword.sizing.tracing.record import Record
from patchword.sizing.tracing.rehearsal import Rehearsal
from patchword.tasks.base import LossOutput, Task
from patchword.training.apply import applied_to_blocks
from patchword.training.learner import Learner
from patchword.training.ready import make_ready


class RehearsedStep:
    """The step of a run on `size` made-up samples; accumulation, precision, clipping, running mean as the run has them.

    fp16 is rehearsed in bf16: numbers of the same size, and a CPU knows only the latter.

    Args:
        run: the run.
        model: in training mode.
        size: samples of one batch; `train.accumulate` of these make a step.
    """

    def __init__(self, run: RunConfig, model: nn.Module, size: int) -> None:
        config = run.train.replace(precision="bf16") if run.train.precision == "fp16" else run.train
        self.learner = Learner(cast(Task, _MadeUp(run)), model, config, "cpu")
        self.make = partial(type(run.task).implementation.full_batch, run, size)
        self.batches: list[Batch] = []
        self.optimizer: torch.optim.Optimizer = self.learner.optimizer

    def gradient(self) -> None:
        """The first half of the learner's step; batches are made the first time, before the eyes of who watches."""
        self.batches = self.batches or [self.make() for _ in range(self.learner.config.accumulate)]
        self.found = self.learner.gradient(self.batches)

    def update(self) -> None:
        """The second half."""
        self.learner.update(self.found, 1, self.learner.config.optimizer.lr)

    def inputs(self) -> list[Tensor]:
        """All tensors of all batches: they are there until the step is done."""
        parts = [t for batch in self.batches for part in batch.inputs.values() for t in part if t is not None]
        return [*parts, *(t for batch in self.batches for t in batch.targets.values())]

    def kept(self) -> dict[str, Tensor]:
        """The running mean."""
        return self.learner.ema.mean if self.learner.ema is not None else {}


class _MadeUp:
    """A task whose batches have all places filled."""

    def __init__(self, run: RunConfig) -> None:
        self.run, self.kind = run, type(run.task).implementation

    def loss(self, model: nn.Module, batch: Batch) -> LossOutput:
        """As one item: it is a mean already."""
        mean = self.kind.rehearse(self.run, model, batch)
        return LossOutput(mean, torch.ones((), dtype=torch.long))


def rehearsal_of(
    run: RunConfig,
    batch: int,
    signatures: bool = False,
    rehearse: type[Rehearsal] = Rehearsal,
    mode: str = "train",
) -> Rehearsal:
    """The run's model without contents, ready to be looked at; adapters are there in training alone."""
    kind: type[Task] = type(run.task).implementation
    train = run.train if mode == "train" else run.train.replace(lora=None)

    def build() -> nn.Module:
        model = planned_model(run).build()
        make_ready(model, train)
        return model

    return rehearse(build, lambda model: kind.rehearse(run, model, kind.full_batch(run, batch)), signatures)


def training_of(rehearsal: Rehearsal, run: RunConfig, batch: int) -> Record:
    """The record of one step of this run.

    Raises:
        UserError: the model chooses what it computes by numbers that it has computed.
    """
    with applied_to_blocks(rehearsal.model, run.train.replace(compile=False)):
        return rehearsal.step(lambda model: RehearsedStep(run, model, batch))


def compiled_training_of(run: RunConfig, batch: int) -> Record:
    """The record of one step with compiled blocks, on a CPU; it does not know which module an operation is of.

    Raises:
        UserError: the model chooses what it computes by numbers that it has computed.
    """
    rehearsal = rehearsal_of(run, batch, rehearse=CompiledRehearsal)
    with applied_to_blocks(rehearsal.model, run.train.replace(compile=True)):
        return rehearsal.step(lambda model: RehearsedStep(run, model, batch))


def _train(rehearsal: Rehearsal, run: RunConfig, batch: int) -> Record:
    return training_of(rehearsal, run, batch)


def _look(rehearsal: Rehearsal, _run: RunConfig, _batch: int) -> Record:
    return rehearsal.inference()


def _generate(rehearsal: Rehearsal, run: RunConfig, batch: int) -> Record:
    kind: type[Task] = type(run.task).implementation
    return rehearsal.inference(lambda model: kind.rehearse_generation(run, model, kind.full_batch(run, batch)))


MODES: dict[str, Callable[[Rehearsal, RunConfig, int], Record]] = {
    "train": _train,
    "inference": _look,
    "generate": _generate,
}
"""What can be rehearsed of a run: a step of training, a forward pass without gradients, and decoding to the greatest
length with its caches."""
