"""Fused attention.

Counted by the pairs of query and key that a kernel computes: all of them, or those on and below the diagonal where the
kernel knows that it is causal.
"""

from __future__ import annotations

from math import prod
from typing import Any

from patchword.sizing.flops.registry import Call, aten, formula
from patchword.sizing.record import Work


def seen_pairs(q: Any, k: Any, causal: bool) -> int:
    """Pairs of query and key that a kernel computes; with `causal`, on and below the diagonal from the top left."""
    heads, queries, keys = prod(q.shape[:-2]), q.shape[-2], k.shape[-2]
    if not causal:
        return heads * queries * keys
    full = min(queries, keys)
    return heads * (full * (full + 1) // 2 + max(queries - keys, 0) * keys)


def _attention(q: Any, k: Any, v: Any, causal: bool) -> Work:
    pairs = seen_pairs(q, k, causal)
    return Work(matmul=2 * pairs * (q.shape[-1] + v.shape[-1]), vector=5 * pairs)


@formula(aten._scaled_dot_product_flash_attention_for_cpu)
def _flash_cpu(call: Call) -> Work:
    causal = call.get(4, "is_causal", False)
    return _attention(call.args[0], call.args[1], call.args[2], causal)


@formula(aten._scaled_dot_product_flash_attention)
def _flash(call: Call) -> Work:
    causal = call.get(4, "is_causal", False)
    return _attention(call.args[0], call.args[1], call.args[2], causal)


@formula(aten._scaled_dot_product_efficient_attention)
def _efficient(call: Call) -> Work:
    causal = call.get(6, "is_causal", False)
    return _attention(call.args[0], call.args[1], call.args[2], causal)


def _attention_backward(q: Any, k: Any, v: Any, causal: bool) -> Work:
    """Four products: gradients of values, weights, queries and keys. The kernel computes scores again beside."""
    pairs = seen_pairs(q, k, causal)
    return Work(matmul=4 * pairs * (q.shape[-1] + v.shape[-1]), vector=8 * pairs)


@formula(aten._scaled_dot_product_flash_attention_for_cpu_backward)
def _flash_cpu_backward(call: Call) -> Work:
    return _attention_backward(call.args[1], call.args[2], call.args[3], call.args[7])


@formula(aten._scaled_dot_product_flash_attention_backward)
def _flash_backward(call: Call) -> Work:
    return _attention_backward(call.args[1], call.args[2], call.args[3], call.args[11])
