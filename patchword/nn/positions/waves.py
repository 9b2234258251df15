"""The geometric series of waves that sinusoidal and rotary positions are made of."""

from __future__ import annotations

import torch
from torch import Tensor


def waves(width: int, theta: float, like: Tensor, dtype: torch.dtype) -> Tensor:
    """theta ** (-2i / width), i < width / 2: how far each wave turns a step; float32 or wider, [width / 2].

    Args:
        width: twice the number of waves.
        theta: base of the series.
        like: a tensor on the device that they are wanted on.
        dtype: what they are to serve.
    """
    wide = torch.promote_types(dtype, torch.float32)  # half precision cannot tell far places apart
    return theta ** (-torch.arange(0, width, 2, device=like.device, dtype=wide) / width)


def angles(pos: Tensor, turns: Tensor) -> Tensor:
    """pos * turns; int [B, T] or [B, T, A], float [width / 2] -> [B, T, A, width / 2]."""
    return (pos if pos.ndim == 3 else pos[..., None]).to(turns.dtype)[..., None] * turns
