"""FlexAttention: a kernel that is compiled for its mask, and computes the blocks of pairs that the mask lists."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch._higher_order_ops.flex_attention import flex_attention, flex_attention_backward
from torch._subclasses.fake_tensor import FakeTensor

from patchword.sizing.flops.attention import Heads
from patchword.sizing.flops.registry import Call, formula
from patchword.sizing.tracing.record import Work


@formula(flex_attention)
def _flex(call: Call) -> Work:
    return _count(call, call.args[4], backward=False)


@formula(flex_attention_backward)
def _flex_backward(call: Call) -> Work:
    return _count(call, call.args[9], backward=True)


def _count(call: Call, mask: Any, backward: bool) -> Work:
    heads = Heads.of(*call.args[:3])
    return heads.counted(_listed(heads, call.args[0], mask), backward)


def _listed(heads: Heads, q: Any, mask: Any) -> int:
    """Pairs in the blocks that a mask lists; all, where its tensors have no contents."""
    counts, indices, full_counts, full_indices = mask[2:6]
    if counts.is_meta or isinstance(counts, FakeTensor):
        return heads.heads * heads.queries * heads.keys
    pairs = _blocks(heads, counts, indices, mask[-3:-1])
    if full_counts is not None:
        pairs += _blocks(heads, full_counts, full_indices, mask[-3:-1])
    return pairs * prod(q.shape[:2]) // prod(counts.shape[:2])


def _blocks(heads: Heads, counts: Any, indices: Any, size: tuple[int, int]) -> int:
    """counts [B', H', n] and indices [B', H', n, m]; the last block of either side may not be full."""
    rows = _lengths(heads.queries, size[0], counts.shape[-1], counts)
    columns = _lengths(heads.keys, size[1], indices.shape[-1], counts)
    listed = torch.arange(indices.shape[-1], device=counts.device) < counts[..., None]
    return int((columns[indices.long()] * listed * rows[:, None]).sum())


def _lengths(length: int, size: int, count: int, like: Any) -> Any:
    return (length - torch.arange(count, device=like.device) * size).clamp(0, size)
