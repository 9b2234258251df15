"""What surrounds each step of a block; the only place that knows where norms stand."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchword.config import NormConfig, ResidualConfig


class Residual(nn.Module):
    """x + f(norm(x)) (pre), norm(x + f(x)) (post) or x + norm(f(norm(x))) (sandwich, Ding et al. 2021).

    Dropout, stochastic depth and layer scale apply to f's output.

    Args:
        config: what surrounds the step.
        norm: the kind of norm.
        dim: width of a token (D).
        step: f.
        drop_path: chance that a sample skips the step in training.
    """

    def __init__(self, config: ResidualConfig, norm: NormConfig, dim: int, step: nn.Module, drop_path: float) -> None:
        super().__init__()
        self.norm, self.step = norm.build(dim), step
        self.pre = config.placement != "post"
        self.out_norm = norm.build(dim) if config.placement == "sandwich" else None
        self.dropout, self.drop_path = config.dropout, drop_path
        self.first_gain = config.layer_scale
        self.gain = nn.Parameter(torch.empty(dim)) if config.layer_scale is not None else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Layer scale starts at its configured value."""
        if self.gain is not None and self.first_gain is not None:
            nn.init.constant_(self.gain, self.first_gain)

    def forward(self, x: Tensor, *context: Any) -> Tensor:
        """[B, T, D] -> [B, T, D]; `context` is what the step needs beside its tokens."""
        y = x + self._regularised(self.step(self.given(x), *context))
        return y if self.pre else self.norm(y)

    def given(self, x: Tensor) -> Tensor:
        """What the step is given of x."""
        return self.norm(x) if self.pre else x

    def _regularised(self, y: Tensor) -> Tensor:
        if self.out_norm is not None:
            y = self.out_norm(y)
        if self.gain is not None:
            y = y * self.gain
        if not self.training:
            return y
        y = F.dropout(y, self.dropout)
        if self.drop_path:  # whole samples, scaled so that the mean stays
            keep = torch.rand(y.shape[0], 1, 1, device=y.device) >= self.drop_path
            y = y * keep.to(y.dtype) / (1 - self.drop_path)
        return y
