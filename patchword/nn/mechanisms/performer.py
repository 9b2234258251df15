"""Attention with random features."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from patchword.config import PerformerAttentionConfig, implements
from patchword.nn.mechanisms.kernel import KernelAttention
from patchword.nn.mechanisms.random_features import Exponential, draw, peaks
from patchword.nn.mechanisms.sums import SumCache

_EXPONENTIAL = {
    "softmax": Exponential(),
    "hyperbolic": Exponential(paired=True),
    "exp": Exponential(gaussian=False),
}


@implements(PerformerAttentionConfig)
class PerformerAttention(KernelAttention):
    """FAVOR+ (Choromanski et al. 2021): features whose products estimate exp(scale q . k), or other kernels.

    Directions are one set for all heads, a function of the seed and of how often they were drawn. They are kept with
    the weights, as is the number of training steps, so that a model that is loaded goes on as it was.

    Exponents are shifted, which changes nothing but the range of numbers: in a key by the largest one of each feature
    over all keys of the row (with a cache: so far; when that grows, the sums are scaled by the difference), in a query
    by its own largest one.
    """

    projection: Tensor
    """The directions, [M, E]."""
    steps: Tensor
    """Training steps, counted where features are drawn again; int scalar."""

    def __init__(self, config: PerformerAttentionConfig, head_dim: int) -> None:
        kernel = _EXPONENTIAL.get(config.feature)
        times = 2 if kernel is not None and kernel.paired else 1
        default = max(int(head_dim * math.log(head_dim)), 1)
        num = -(-(config.num_features or default) // times)
        super().__init__(config, head_dim, num * times, config.chunk)
        self.kernel, self.floor = kernel, config.eps or 1e-3
        self.num_directions, self.settings = num, config
        self.register_buffer("projection", self._draw(0).to(torch.get_default_dtype()))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def _draw(self, number: int) -> Tensor:
        settings = self.settings
        return draw(self.num_directions, self.head_dim, settings.orthogonal, settings.seed, number)

    def after_step(self) -> None:
        """Count a training step; every `redraw_every` of them draw new features."""
        every = self.settings.redraw_every
        if every is None:
            return
        self.steps += 1
        number, rest = divmod(int(self.steps), every)
        if not rest:
            self.projection.copy_(self._draw(number))

    def features(self, q: Tensor, k: Tensor, seen: Tensor | None, cache: SumCache | None) -> tuple[Tensor, Tensor]:
        """phi of queries [B, H, T, F] and of keys [B, G, S, F]."""
        directions = self.projection.to(q.dtype) * self.scale**0.5
        if self.kernel is None:
            q, k = ((x @ directions.T).add_(self.floor) for x in (q, k))
            return F.threshold(q, self.floor, self.floor), F.threshold(k, self.floor, self.floor)  # relu(x) + floor
        logs = self.kernel.logs(k * self.scale**0.5, self.projection.to(q.dtype), seen)
        peak = peaks(logs)
        if cache is not None:
            peak = cache.raise_peak(peak)
        times = self.num_heads // self.num_kv_heads
        return self.kernel.queries(q, directions, peak.repeat_interleave(times, 1)), logs.sub_(peak).exp_()
