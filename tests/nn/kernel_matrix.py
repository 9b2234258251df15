"""Kernel attention as its definition says it: an n x n matrix of scores. The reference of linear and performer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from patchword.sequence import Mask, SequenceInfo

QKV = tuple[Tensor, Tensor, Tensor]


def gathered(q: Tensor, k: Tensor, v: Tensor, see: Tensor, eps: float = 0.0) -> Tensor:
    """Features [B, H, T, F], [B, G, S, F] and values [B, G, S, E], bool [B or 1, 1, T, S] -> [B, H, T, E]."""
    times = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(times, 1), v.repeat_interleave(times, 1)
    scores = torch.where(see, q @ k.mT, 0.0)
    divisor = scores.sum(-1, keepdim=True) + eps
    return scores @ v / torch.where(divisor == 0, 1.0, divisor)


def facts(name: str, batch: int, length: int) -> SequenceInfo:
    """Random facts of one sort."""
    valid, order = torch.rand(batch, length) < 0.7, torch.randint(0, 5, (batch, length))
    prefix = (torch.arange(length) - length // 2).clamp_min(0).expand(batch, -1)
    documents = (torch.arange(length) // max(length // 3, 1)).expand(batch, -1)
    anywhere = torch.randint(0, 3, (batch, length))
    return {
        "plain": SequenceInfo(),
        "padding": SequenceInfo(valid=valid),
        "prefix": SequenceInfo(order=prefix),
        "any order": SequenceInfo(valid=valid, order=order),
        "documents": SequenceInfo(segment=documents),
        "all": SequenceInfo(valid=valid, order=order, segment=anywhere),
    }[name]


FACTS = ("plain", "padding", "prefix", "any order", "documents", "all")


def itself(info: SequenceInfo, length: int) -> Mask:
    """The mask of a sequence that looks at itself."""
    return Mask(info, info, length, length)


def inputs(batch: int, length: int, heads: int, groups: int, width: int, dtype: torch.dtype = torch.float64) -> QKV:
    """Queries, keys and values that want gradients."""
    q, k, v = (torch.randn(batch, n, length, width, dtype=dtype).requires_grad_() for n in (heads, groups, groups))
    return q, k, v


def same_with_gradients(got: Tensor, want: Tensor, of: Sequence[Tensor], tolerance: float = 1e-10) -> None:
    """Equal values, and equal gradients of `of`."""
    torch.testing.assert_close(got, want, atol=tolerance, rtol=tolerance)
    upstream = torch.randn_like(want)
    ours, theirs = (torch.autograd.grad(y, of, upstream, retain_graph=True) for y in (got, want))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)
