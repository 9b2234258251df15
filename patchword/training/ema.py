"""A running mean of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Ema:
    """mean <- d mean + (1 - d) weights after each step, d = min(decay, (1 + step) / (10 + step)).

    The smaller decay of the first steps lets the mean forget the random start (Abadi et al. 2016,
    ExponentialMovingAverage's `num_updates`). Frozen weights are their own mean.

    Args:
        model: whose weights; their values now are the mean's first.
        decay: the final one.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.mean: dict[str, Tensor] = {name: p.detach().clone() for name, p in self._weights.items()}
        """By parameter name."""

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step `step` (the first is 1)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(decay)(list(self.mean.values()), list(self._weights.values()), None)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the mean's weights inside this context, and its own again after it."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def load(self, mean: dict[str, Tensor]) -> None:
        """Take the mean from a checkpoint."""
        for name, own in self.mean.items():
            own.copy_(mean[name])

    def _swap(self) -> None:
        for name, weight in self._weights.items():
            weight.data, self.mean[name] = self.mean[name], weight.data
