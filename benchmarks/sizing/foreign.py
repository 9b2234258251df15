"""Modules that are not ours, in training and at work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import patchword
from benchmarks.sizing.foreign_models import MODELS, Make
from patchword.sizing.tracing.foreign import MakeOptimizer, adamw, loss_of, rehearsal_of_module

OPTIMIZERS: dict[str, MakeOptimizer] = {
    "fused AdamW": adamw,
    "foreach AdamW": lambda model: torch.optim.AdamW(model.parameters(), foreach=True),
    "single-tensor AdamW": lambda model: torch.optim.AdamW(model.parameters(), foreach=False),
    "SGD with momentum": lambda model: torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9),
}


class Autocast(nn.Module):
    """A module whose forward pass runs in bf16."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *args: Tensor) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return self.inner(*args)


class ForeignModule:
    """A module in training or at work, on inputs that its caller keeps.

    Args:
        name: one of `MODELS`.
        mode: `train` or `inference`.
        batch: samples.
        optimizer: one of `OPTIMIZERS`.
        bf16: whether its forward pass runs under autocast.
    """

    def __init__(self, name: str, mode: str, batch: int, optimizer: str = "fused AdamW", bf16: bool = False) -> None:
        make, make_inputs = MODELS[name]
        self.make: Make = (lambda: Autocast(make())) if bf16 else make
        self.mode, self.make_optimizer = mode, OPTIMIZERS[optimizer]
        self.inputs = make_inputs(batch)
        self.optimizer: torch.optim.Optimizer | None = None

    def start(self) -> Callable[[], object]:
        self.model = self.make()
        if self.mode == "inference":
            return self._look
        self.optimizer = self.make_optimizer(self.model.train())
        return self._learn

    def _look(self) -> None:
        self.model.eval()
        with torch.no_grad():
            self.model(*self.inputs)

    def _learn(self) -> None:
        assert self.optimizer is not None
        loss_of(self.model(*self.inputs)).backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def kept(self) -> list[Tensor]:
        found = self.optimizer.state.values() if self.optimizer is not None else ()
        state = [t for kept in found for t in kept.values()]
        return [*self.model.parameters(), *self.model.buffers(), *state, *self.inputs]

    def predict(self) -> tuple[int, int]:
        with torch.device("meta"):
            model = self.make()
        found = patchword.size(model, self.mode, inputs=self.inputs, optimizer=self.make_optimizer)
        if not found.by_category.get("libraries"):
            return found.peak_bytes, found.peak_bytes
        with rehearsal_of_module(model, self.inputs) as rehearsal:
            whole = self.mode == "train"
            record = rehearsal.training(self.make_optimizer, clip=False) if whole else rehearsal.inference()
        return found.peak_bytes, record.peak(without="libraries")[0]

    def stop(self) -> None:
        del self.model
        self.optimizer = None
