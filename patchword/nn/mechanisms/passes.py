"""Parts of kernel attention with backward passes of their own, which go over memory less often than torch's would.

B batch, T queries, S keys, G key/value heads, F features, E head width, N chunks. Differentiable once.
"""

from __future__ import annotations

import itertools
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def total(keys: Tensor, values: Tensor) -> Tensor:
    """Sums over keys of phi(k) (v, 1)^T; features [B, G, S, F] and [B, G, S, E] -> [B, G, F, E + 1]."""
    return cast(Tensor, _Total.apply(keys, values))


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, keys: Tensor, values: Tensor) -> Tensor:
        ctx.save_for_backward(keys, values)
        return torch.cat([keys.mT @ values, keys.sum(2)[..., None]], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        keys, values = ctx.saved_tensors
        weighted, alone = grads[0][..., :-1], grads[0][..., -1]
        return (values @ weighted.mT).add_(alone[:, :, None]), keys @ weighted


def read(queries: Tensor, sums: Tensor, eps: float) -> Tensor:
    """Weighted values over (weights + eps), or over 1 where that is 0.

    Features [B, G, T, F] and sums [B, G, F, E + 1] -> [B, G, T, E].
    """
    return cast(Tensor, _Read.apply(queries, sums, eps))


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries: Tensor, sums: Tensor, eps: float) -> Tensor:
        inverse = _inverse(queries @ sums[..., -1:], eps)
        out = (queries @ sums[..., :-1]).mul_(inverse)
        ctx.save_for_backward(queries, sums, out, inverse)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        queries, sums, out, inverse = ctx.saved_tensors
        grad = _undivided(grads[0], out, inverse)
        return grad @ sums.mT, queries.mT @ grad, None


def divided(gathered: Tensor, eps: float) -> Tensor:
    """All columns but the last over (the last + eps), or over 1 where that is 0; [B, H, T, E + 1] -> [B, H, T, E]."""
    return cast(Tensor, _Divided.apply(gathered, eps))


class _Divided(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gathered: Tensor, eps: float) -> Tensor:
        inverse = _inverse(gathered[..., -1:].clone(), eps)
        out = gathered[..., :-1] * inverse
        ctx.save_for_backward(out, inverse)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return _undivided(grads[0], *ctx.saved_tensors), None


def _inverse(weight: Tensor, eps: float) -> Tensor:
    weight += eps
    return weight.masked_fill_(weight == 0, 1.0).reciprocal_()


def _undivided(grad: Tensor, out: Tensor, inverse: Tensor) -> Tensor:
    """From the gradient of quotients to those of values and weights; [..., E] -> [..., E + 1]."""
    both = grad.new_empty(*grad.shape[:-1], grad.shape[-1] + 1)
    both[..., :-1].copy_(grad).mul_(inverse)
    both[..., -1:] = torch.linalg.vecdot(grad, out)[..., None] * -inverse
    return both


def carry(sums: Tensor, start: Tensor | None, keeps: Tensor | None) -> Tensor:
    """What has been summed before each chunk: out[0] = start, out[i + 1] = keeps[i] out[i] + sums[i].

    A loop over chunks: ten times as fast on a CPU as `cumsum` along an outer dimension.

    Args:
        sums: of each chunk, [B, G, N, F, E + 1].
        start: [B, G, F, E + 1]; None: zeros.
        keeps: [B or 1, 1, N, 1, 1]; None: ones.

    Returns:
        [B, G, N, F, E + 1].
    """
    return cast(Tensor, _Carry.apply(sums, start, keeps))


class _Carry(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, sums: Tensor, start: Tensor | None, keeps: Tensor | None) -> Tensor:
        ctx.keeps, ctx.started = keeps, start is not None
        return _carry(sums, start, keeps, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (grad,) = grads
        keeps: Tensor | None = ctx.keeps
        own = _carry(grad, None, keeps, -1)
        if not ctx.started:
            return own, None, None
        return own, grad[:, :, 0] + (own[:, :, 0] if keeps is None else own[:, :, 0] * keeps[:, :, 0]), None


def _carry(sums: Tensor, start: Tensor | None, keeps: Tensor | None, step: int) -> Tensor:
    """From the first chunk to the last (`step` 1), or from the last to the first (-1)."""
    places = range(sums.shape[2])[::step]
    out = sums.roll(step, 2)
    out[:, :, places[0]] = 0.0 if start is None else start
    for here, after in itertools.pairwise(places):
        if keeps is None:
            out[:, :, after] += out[:, :, here]
        else:
            out[:, :, after] += out[:, :, here] * keeps[:, :, here]
    return out
