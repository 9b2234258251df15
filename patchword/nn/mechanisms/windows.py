"""Overlapping stretches of a sequence as views: nothing is copied forward, and backward they are added up."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor


class Windows(NamedTuple):
    """`num` windows of `size` places each, `step` places from one to the next."""

    num: int
    size: int
    step: int


def windows(x: Tensor, start: int, shape: Windows) -> Tensor:
    """x [L, S, E] -> [num, L, size, E]; the first window begins at `start`, the last must end within S."""
    x = x[:, start : start + (shape.num - 1) * shape.step + shape.size]
    if shape.step >= shape.size or not x.requires_grad:
        return _views(x, shape)
    return cast(Tensor, _Windows.apply(x, shape))


def _views(x: Tensor, shape: Windows) -> Tensor:
    return x.unfold(1, shape.size, shape.step).permute(1, 0, 3, 2)


class _Windows(torch.autograd.Function):
    """torch's own gradient of `unfold` collects number by number; whole slices added take a quarter less of a step."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, shape: Windows) -> Tensor:
        ctx.length, ctx.shape = x.shape[1], shape
        return _views(x, shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        num, size, step = ctx.shape
        grad = grads[0].transpose(0, 1)
        pieces = -(-size // step)
        total = grad.new_zeros(len(grad), num - 1 + pieces, step, grad.shape[-1])
        for piece in range(pieces):
            part = grad[:, :, piece * step : (piece + 1) * step]
            total[:, piece : piece + num, : part.shape[2]] += part
        return total.flatten(1, 2)[:, : ctx.length], None
