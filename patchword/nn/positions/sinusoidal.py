"""Fixed waves added to tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from patchword.config import SinusoidalPositionConfig, UserError, implements
from patchword.nn.positions.base import Heads, Places, Position, places_of
from patchword.nn.positions.waves import angles, waves
from patchword.sequence import SequenceInfo


@implements(SinusoidalPositionConfig)
class SinusoidalPosition(Position):
    """Sines in the first half, cosines in the second, of each axis' share of the width (Vaswani et al. 2017)."""

    def __init__(self, config: SinusoidalPositionConfig, places: Places, dim: int, heads: Heads) -> None:
        super().__init__(config, places, dim, heads)
        if dim % (2 * places.axes):
            raise UserError(f"sinusoidal positions: dim {dim} is not divisible by {2 * places.axes} (pairs x axes)")
        self.theta, self.width = config.theta, dim // places.axes

    def add(self, x: Tensor, info: SequenceInfo) -> Tensor:
        """Tokens with the waves of their places added; [B, T, D] -> same."""
        pos = places_of(info)
        angle = angles(pos, waves(self.width, self.theta, pos, x.dtype))
        return x + torch.cat([angle.sin(), angle.cos()], -1).flatten(-2).to(x.dtype)
