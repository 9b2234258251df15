"""Fused attention one level lower: heads side by side, and documents of several lengths one after another."""

from __future__ import annotations

from typing import Any

from torch._subclasses.fake_tensor import FakeTensor

from patchword.sizing.flops.attention import Heads, Seen, all_pairs, band, triangle
from patchword.sizing.flops.registry import Call, aten, formula
from patchword.sizing.tracing.record import Work

_FROM_TOP_LEFT, _FROM_BOTTOM_RIGHT = 1, 2
"""Masks of the memory-efficient kernel."""


def _flash(call: Call, backward: bool) -> Work:
    """query [B, T, H, E], or [sum of T, H, E] with the borders of documents."""
    before, after = call["window_size_left"], call["window_size_right"]
    seen = all_pairs
    if call["is_causal"]:
        seen = band(before, 0)
    elif before is not None or after is not None:
        seen = band(before, after)
    return _each(call, seen, call["cum_seq_q"], call["cum_seq_k"], backward)


def _efficient(call: Call, backward: bool) -> Work:
    """query [B, T, H, E], or [1, sum of T, H, E] with the borders of documents."""
    kind, window = call["custom_mask_type"], call["window_size"]
    seen = {0: all_pairs, _FROM_TOP_LEFT: triangle, _FROM_BOTTOM_RIGHT: band(None, 0)}[kind]
    if window:
        if kind != _FROM_BOTTOM_RIGHT:
            return Work(known=False)
        seen = band(window - 1, 0)
    return _each(call, seen, call["cu_seqlens_q"], call["cu_seqlens_k"], backward)


def _each(call: Call, seen: Seen, borders: Any, key_borders: Any, backward: bool) -> Work:
    q, k, v = call["query"], call["key"], call["value"]
    if borders is None:
        return _count(Heads(q.shape[0] * q.shape[2], q.shape[1], k.shape[1], q.shape[-1], v.shape[-1]), seen, backward)
    of_queries, of_keys = _lengths(borders), _lengths(borders if key_borders is None else key_borders)
    if of_queries is None or of_keys is None:
        return Work(known=False)
    works = [
        _count(Heads(q.shape[-2], queries, keys, q.shape[-1], v.shape[-1]), seen, backward)
        for queries, keys in zip(of_queries, of_keys, strict=True)
    ]
    model, hardware, vector = (sum(column) for column in list(zip(*works))[:3]) if works else (0, 0, 0)
    return Work(model, hardware, vector)


def _count(heads: Heads, seen: Seen, backward: bool) -> Work:
    return heads.backward(seen) if backward else heads.forward(seen)


def _lengths(borders: Any) -> list[int] | None:
    """Lengths of documents; None: the tensor has no contents."""
    if borders.is_meta or isinstance(borders, FakeTensor):
        return None
    return borders.diff().tolist()


for _packets, _formula in (
    ((aten._flash_attention_forward, aten._flash_attention_forward_no_dropout_inplace), _flash),
    ((aten._flash_attention_backward,), _flash),
    ((aten._efficient_attention_forward,), _efficient),
    ((aten._efficient_attention_backward,), _efficient),
):
    formula(*_packets)(lambda call, f=_formula: f(call, "grad_out" in call or "grad_out_" in call))


@formula(aten._cudnn_attention_forward)
def _cudnn(call: Call) -> Work:
    return _wide(call, backward=False)


@formula(aten._cudnn_attention_backward)
def _cudnn_backward(call: Call) -> Work:
    return _wide(call, backward=True)


def _wide(call: Call, backward: bool) -> Work:
    """query [B, H, T, E], or packed as above."""
    seen = triangle if call["is_causal"] else all_pairs
    if call["query"].dim() == 4:
        return _count(Heads.of(call["query"], call["key"], call["value"]), seen, backward)
    return _each(call, seen, call["cum_seq_q"], call["cum_seq_k"], backward)
