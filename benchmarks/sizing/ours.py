"""Our models, as the trainer, the evaluator and generation really run them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, cast

import torch
from torch import Tensor, nn

import patchword
from patchword.config import CaptioningTaskConfig, RunConfig
from patchword.costs import record_of
from patchword.data.batch import Batch
from patchword.models.create import planned_model
from patchword.models.decoding import Vocabulary
from patchword.models.generate import generate
from patchword.models.presets import load_config
from patchword.tasks.captioning import CaptioningTask
from patchword.training.apply import applied_to_blocks
from patchword.training.learner import Learner

_SPECIAL = Vocabulary(bos_id=1, eos_id=-1, pad_id=0)  # no end is ever said: every text becomes as long as can be


class _Words:
    """All that a task without data asks of its tokenizers."""

    bos_id, eos_id, pad_id = _SPECIAL[:3]

    def __getitem__(self, tower: str) -> _Words:
        return self


class Training:
    """Steps of the trainer."""

    def __init__(self, spec: str, batch: int, changes: dict[str, Any]) -> None:
        self.run, self.batch = load_config(spec, changes), batch

    def start(self) -> Callable[[], object]:
        """A model of its own; the step to be measured."""
        self.context = ExitStack()
        model = planned_model(self.run).build().train()
        self.context.enter_context(applied_to_blocks(model, self.run.train))
        task = CaptioningTask(cast(Any, self.run.task), self.run, cast(Any, _Words()))
        self.learner = Learner(task, model, self.run.train, "cpu")
        self.batches = [CaptioningTask.full_batch(self.run, self.batch) for _ in range(self.run.train.accumulate)]
        numbers = iter(range(1, 10**6))
        return lambda: self.learner.step(self.batches, next(numbers), 1e-3)

    def kept(self) -> list[Tensor]:
        """What is there between steps."""
        learner = self.learner
        state = [t for found in learner.optimizer.state.values() for t in found.values()]
        mean = list(learner.ema.mean.values()) if learner.ema is not None else []
        return [*tensors_of(learner.model), *state, *mean, *_of_batches(self.batches)]

    def predict(self) -> tuple[int, int]:
        """The peak, from the configuration alone."""
        return predicted(self.run, "train", self.batch)

    def stop(self) -> None:
        """Let go of everything."""
        self.context.close()
        del self.learner, self.batches


class Inference:
    """A forward pass without gradients."""

    def __init__(self, spec: str, batch: int, changes: dict[str, Any]) -> None:
        self.run, self.batch = load_config(spec, changes), batch

    def start(self) -> Callable[[], object]:
        self.model = planned_model(self.run).build().eval()
        self.task = CaptioningTask(cast(Any, self.run.task), self.run, cast(Any, _Words()))
        self.batches = [CaptioningTask.full_batch(self.run, self.batch)]

        def look() -> None:
            with torch.no_grad():
                self.task.loss(self.model, self.batches[0])

        return look

    def kept(self) -> list[Tensor]:
        return [*tensors_of(self.model), *_of_batches(self.batches)]

    def predict(self) -> tuple[int, int]:
        return predicted(self.run, "inference", self.batch)

    def stop(self) -> None:
        del self.model, self.batches


class Generation:
    """A whole text for each picture, every text as long as can be."""

    def __init__(self, spec: str, batch: int, changes: dict[str, Any]) -> None:
        self.run, self.batch = load_config(spec, changes), batch

    def start(self) -> Callable[[], object]:
        self.model = planned_model(self.run).build().eval()
        task = cast(CaptioningTaskConfig, self.run.task)
        self.inputs = {task.image: CaptioningTask.full_batch(self.run, self.batch).inputs[task.image]}
        return lambda: generate(self.model, self.inputs, task.decode, _SPECIAL, task.head)

    def kept(self) -> list[Tensor]:
        return [*tensors_of(self.model), *(part.pixels for part in cast(Any, self.inputs).values())]

    def predict(self) -> tuple[int, int]:
        return predicted(self.run, "generate", self.batch)

    def stop(self) -> None:
        del self.model, self.inputs


def predicted(run: RunConfig, mode: str, batch: int) -> tuple[int, int]:
    """The peak as `patchword size` says it, and without what only oneDNN sees: another one if it has a part in it."""
    found = patchword.size(run, mode, batch)
    if not found.by_category.get("libraries"):
        return found.peak_bytes, found.peak_bytes
    return found.peak_bytes, record_of(run, mode, batch)[1].peak(without="libraries")[0]


def tensors_of(model: nn.Module) -> list[Tensor]:
    """Parameters and buffers."""
    return [*model.parameters(), *model.buffers()]


def _of_batches(batches: list[Batch]) -> list[Tensor]:
    parts = [t for batch in batches for part in batch.inputs.values() for t in part if t is not None]
    return [*parts, *(t for batch in batches for t in batch.targets.values())]
