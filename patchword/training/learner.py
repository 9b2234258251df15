"""A model with what changes it: gradients, optimizer, running mean. One call is one step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from patchword.config import TrainConfig
from patchword.data.batch import Batch
from patchword.nn.adapters import merged
from patchword.nn.heads import SimilarityHead
from patchword.nn.mechanisms import Mechanism
from patchword.sequence import can_look
from patchword.tasks.base import Task
from patchword.training.ema import Ema
from patchword.training.optim import build_optimizer, load_optimizer_tensors, optimizer_tensors, set_rate
from patchword.training.precision import Precision
from patchword.training.ready import make_ready
from patchword.training.weights import load_tensors, load_weights, save_tensors, save_weights


class NotFiniteError(ArithmeticError):
    """A loss or a gradient is infinite or not a number."""


class Step(NamedTuple):
    """What a step found, before it changed the weights; tensors on the device."""

    total: Tensor
    """Sum of the loss, float64 scalar."""
    items: Tensor
    """Number of items in it."""
    norm: Tensor
    """Length of the gradient before clipping."""


class Learner:
    """Learns from batches.

    Args:
        task: gives the loss.
        model: on the device.
        config: how it is trained.
        device: as `pick_device` gives it.

    Raises:
        UserError: a pattern for parameters matches nothing, or the device cannot do the precision.
    """

    def __init__(self, task: Task, model: nn.Module, config: TrainConfig, device: str) -> None:
        self.task, self.model, self.config, self.device = task, model, config, device
        self.precision = Precision(config.precision, device)
        make_ready(model, config)
        self.weights = [p for p in model.parameters() if p.requires_grad]
        self.stepped: list[Mechanism | SimilarityHead] = [
            m for m in model.modules() if isinstance(m, Mechanism | SimilarityHead)
        ]
        self.optimizer = build_optimizer(model, config.optimizer)
        self.ema = Ema(model, config.ema) if config.ema is not None else None
        self._broken = torch.zeros((), dtype=torch.bool, device=device)
        self._steps = 0

    def step(self, batches: Sequence[Batch], number: int, lr: float) -> Step:
        """Step `number` (the first is 1); its gradient is that of all batches as one.

        Raises:
            NotFiniteError: on a CPU at once, with the weights unchanged; on CUDA, where looking would make it wait,
                `check` says so later.
        """
        found = self.gradient(batches)
        self.update(found, number, lr)
        return found

    def gradient(self, batches: Sequence[Batch]) -> Step:
        """The first half of a step: sums of loss and count; leaves the mean's gradient in the weights."""
        scaler = self.precision.scaler
        total, count = torch.zeros(2, dtype=torch.float64, device=self.device).unbind()
        first: Tensor | None = None
        for batch in batches:
            with self.precision.autocast():
                loss = self.task.loss(self.model, batch)
            total, count = total + loss.total.detach(), count + loss.count.detach()
            if first is None:
                first = loss.count.detach().clamp_min(1)
            scaler.scale(loss.total / first).backward()
        assert first is not None
        gradients = [p.grad for p in self.weights if p.grad is not None]
        scaler.unscale_(self.optimizer)
        if len(batches) > 1:  # so far everything is divided by the first batch's count, not by that of all
            torch._foreach_mul_(  # pyright: ignore[reportPrivateImportUsage]
                gradients, (first / count.clamp_min(1)).float()
            )
        return Step(total, count, torch.nn.utils.get_total_norm(gradients))

    def update(self, found: Step, number: int, lr: float) -> None:
        """The second half of a step: the weights move.

        Raises:
            NotFiniteError: as `step` says.
        """
        scaler = self.precision.scaler
        broken = ~torch.isfinite(found.total)
        if (
            not scaler.is_enabled()
        ):  # a scaler finds the largest scale by trying: gradients may overflow, steps be left out
            broken = broken | ~torch.isfinite(found.norm)
        self._broken, self._steps = self._broken | broken, number
        if can_look(self._broken):
            self.check()
        if self.config.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(self.weights, self.config.clip, found.norm)
        set_rate(self.optimizer, lr)
        scaler.step(self.optimizer)
        scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        for part in self.stepped:
            part.after_step()
        if self.ema is not None:
            self.ema.update(number)

    def check(self) -> None:
        """Make sure that every step so far was finite.

        Raises:
            NotFiniteError: one was not.
        """
        if bool(self._broken):
            raise NotFiniteError(f"step {self._steps}")

    @contextmanager
    def judged(self) -> Iterator[nn.Module]:
        """The model as it is evaluated and kept, in eval mode: the running mean where there is one, adapters merged."""
        with self.ema.applied() if self.ema is not None else nullcontext(), merged(self.model):
            self.model.eval()
            try:
                yield self.model
            finally:
                self.model.train()

    def save(self, folder: Path) -> None:
        """Write weights, optimizer and running mean as safetensors files.

        Raises:
            OSError: the disk is full, or not writable.
        """
        save_weights(self.model, folder / "model.safetensors")
        save_tensors(optimizer_tensors(self.model, self.optimizer), folder / "optimizer.safetensors")
        if self.ema is not None:
            save_tensors(self.ema.mean, folder / "ema.safetensors")

    def load(self, folder: Path) -> None:
        """The inverse of `save`.

        Raises:
            UserError: the weights are of another model.
        """
        load_weights(self.model, folder / "model.safetensors")
        load_optimizer_tensors(self.model, self.optimizer, load_tensors(folder / "optimizer.safetensors"))
        if self.ema is not None:
            self.ema.load(load_tensors(folder / "ema.safetensors"))
