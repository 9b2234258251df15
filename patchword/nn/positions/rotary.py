"""Queries and keys turned by an angle that grows with the place."""

from __future__ import annotations

import torch

from patchword.config import RotaryPositionConfig, UserError, implements
from patchword.nn.positions.base import Heads, Places, Position, Rotation, places_of
from patchword.nn.positions.scaling import RotaryScaling
from patchword.nn.positions.waves import angles, waves
from patchword.sequence import SequenceInfo


@implements(RotaryPositionConfig)
class RotaryPosition(Position):
    """Pairs turned by their place (Su et al. 2021); with two axes, half of the pairs each."""

    def __init__(self, config: RotaryPositionConfig, places: Places, dim: int, heads: Heads) -> None:
        super().__init__(config, places, dim, heads)
        turned = config.turned(heads.dim)
        if not turned or turned % (2 * places.axes):
            share = "" if config.share == 1 else f" x share {config.share} = {turned}"
            raise UserError(
                f"rotary positions: head_dim {heads.dim}{share} is not divisible by {2 * places.axes} (pairs x axes)"
            )
        self.theta, self.width = config.theta, turned // places.axes
        self.scaling: RotaryScaling | None = None
        if config.scaling is not None:
            self.scaling = config.scaling.build(self.width, config.theta)

    def rotation(self, info: SequenceInfo, dtype: torch.dtype) -> Rotation:
        """Angles in float32, then in `dtype`; int [B, T] or [B, T, 2] -> [B, 1, T, R / 2] for a turned width R."""
        pos = places_of(info)
        turns, gain = waves(self.width, self.theta, pos, dtype), 1.0
        if self.scaling is not None:
            turns, gain = self.scaling(turns), self.scaling.gain
        angle = angles(pos, turns).flatten(-2)[:, None]
        cos, sin = angle.cos(), angle.sin()
        if gain != 1.0:
            cos, sin = cos * gain, sin * gain
        return Rotation(cos.to(dtype), sin.to(dtype))
