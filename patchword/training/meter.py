"""What is counted between two lines of metrics, and the clock of a training."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from patchword.data.batch import Batch
from patchword.sequence import TextInput


class Clock:
    """Seconds of training: steps and waiting for data, without evaluating and saving.

    Stands still until it is started.

    Args:
        elapsed: seconds before this session.
    """

    def __init__(self, elapsed: float = 0.0) -> None:
        self._spent = elapsed
        self._since: float | None = None

    @property
    def elapsed(self) -> float:
        """Seconds so far."""
        return self._spent + (time.perf_counter() - self._since if self._since is not None else 0.0)

    def start(self) -> None:
        """Let it run."""
        self._since = time.perf_counter()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What happens inside takes no time."""
        self._spent, self._since = self.elapsed, None
        try:
            yield
        finally:
            self.start()


class Meter:
    """Sums since the last line of metrics. Tensors stay on the device, so that no step waits for it.

    Args:
        clock: the training's.
        device: where the loss is.
        state: the sums of a checkpoint, as `state` gave them; speeds start anew.
    """

    def __init__(self, clock: Clock, device: str, state: Mapping[str, float]) -> None:
        self.clock, self.device = clock, device
        self.reset()
        if state:
            self.total, self.items = self.total + state["total"], self.items + state["items"]

    def reset(self) -> None:
        """Start the next line."""
        self.total, self.items, self.tokens = torch.zeros(3, dtype=torch.float64, device=self.device).unbind()
        self.samples, self.waited, self.start = 0, 0.0, self.clock.elapsed

    def add(self, batches: list[Batch], total: Tensor, items: Tensor, waited: float) -> None:
        """Take in a step: its batches, sum of its loss and number of items in it, seconds it waited."""
        self.total = self.total + total
        self.items = self.items + items
        self.waited += waited
        for batch in batches:
            self.samples += len(batch.ids)
            for part in batch.inputs.values():
                if isinstance(part, TextInput):
                    self.tokens = self.tokens + (part.ids.numel() if part.valid is None else part.valid.sum())

    def read(self) -> dict[str, Any]:
        """The figures since the last line."""
        seconds = max(self.clock.elapsed - self.start, 1e-9)
        return {
            "loss": float(self.total / self.items.clamp_min(1)),
            "samples_per_second": self.samples / seconds,
            "tokens_per_second": float(self.tokens) / seconds,
            "data_wait": min(self.waited / seconds, 1.0),
        }

    def state(self) -> dict[str, float]:
        """What of it a resumed training needs to log the same loss."""
        return {"total": float(self.total), "items": float(self.items)}
