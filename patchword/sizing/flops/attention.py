"""Fused attention: scores, softmax and weighted values in one kernel.

Model FLOPs count every pair of query and key, whatever mask hides some. Hardware FLOPs count the pairs that the kernel
computes: a causal kernel leaves out the blocks above the diagonal, and a backward pass computes scores again.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

from patchword.sizing.flops.registry import Call, aten, formula
from patchword.sizing.tracing.record import Work

Seen = Callable[[int, int], int]
"""Queries and keys to the pairs that a kernel computes."""


def all_pairs(queries: int, keys: int) -> int:
    """No mask, or one that the kernel adds to all scores."""
    return queries * keys


def triangle(queries: int, keys: int) -> int:
    """Pairs on and below the diagonal from the top left: what a causal kernel of the finest blocks computes."""
    full = min(queries, keys)
    return full * (full + 1) // 2 + max(queries - keys, 0) * keys


def band(before: int | None, after: int | None) -> Seen:
    """Keys at most `before` places before a query and `after` behind it, the diagonal ending at the bottom right."""

    def seen(queries: int, keys: int) -> int:
        apart, found = keys - queries, 0
        for i in range(queries):
            low = 0 if before is None else max(i + apart - before, 0)
            high = keys if after is None else min(i + apart + after + 1, keys)
            found += max(high - low, 0)
        return found

    return seen


def blocks_on_cpu(queries: int, keys: int) -> int:
    """Pairs that torch's kernel for the CPU computes under a causal mask.

    It takes keys in blocks of 512 and leaves out those that begin after the last of the queries that it is at
    (aten/src/ATen/native/cpu/FlashAttentionKernel.cpp); blocks of queries, 32 to 256 of them, divide 512, so that their
    height makes no difference. Up to 512 keys that saves nothing.
    """
    block = 512
    return sum(min(block, queries - at) * min(at + block, keys) for at in range(0, queries, block))


class Heads(NamedTuple):
    """What a fused attention is given."""

    heads: int
    """Rows of the batch times heads of queries."""
    queries: int
    keys: int
    width: int
    """Of queries and keys."""
    value_width: int

    @classmethod
    def of(cls, q: Any, k: Any, v: Any) -> Heads:
        """From [B, H, T, E], [B, G, S, E] and [B, G, S, Ev]."""
        return cls(prod(q.shape[:-2]), q.shape[-2], k.shape[-2], q.shape[-1], v.shape[-1])

    def forward(self, seen: Seen = all_pairs) -> Work:
        """Scores and weighted values."""
        return self.counted(self.heads * seen(self.queries, self.keys), backward=False)

    def backward(self, seen: Seen = all_pairs) -> Work:
        """Gradients of values, weights, queries and keys; the kernel computes scores again beside."""
        return self.counted(self.heads * seen(self.queries, self.keys), backward=True)

    def counted(self, computed: int, backward: bool) -> Work:
        """The work if the kernel computes so many pairs."""
        every = self.heads * self.queries * self.keys
        asked = (4 if backward else 2) * (self.width + self.value_width)
        again = 2 * self.width if backward else 0
        return Work(every * asked, computed * (asked + again), (8 if backward else 5) * computed)


def _heads(call: Call) -> Heads:
    return Heads.of(call["query"], call["key"], call["value"])


def _causal(call: Call, seen: Seen) -> Seen:
    return seen if call["is_causal"] else all_pairs


@formula(aten._scaled_dot_product_flash_attention_for_cpu)
def _on_cpu(call: Call) -> Work:
    return _heads(call).forward(_causal(call, blocks_on_cpu))


@formula(aten._scaled_dot_product_flash_attention_for_cpu_backward)
def _on_cpu_backward(call: Call) -> Work:
    return _heads(call).backward(_causal(call, blocks_on_cpu))


@formula(
    aten._scaled_dot_product_flash_attention,
    aten._scaled_dot_product_efficient_attention,
    aten._scaled_dot_product_cudnn_attention,
    aten._scaled_dot_product_fused_attention_overrideable,
)
def _fused(call: Call) -> Work:
    return _heads(call).forward(_causal(call, triangle))


@formula(
    aten._scaled_dot_product_flash_attention_backward,
    aten._scaled_dot_product_efficient_attention_backward,
    aten._scaled_dot_product_cudnn_attention_backward,
    aten._scaled_dot_product_fused_attention_overrideable_backward,
)
def _fused_backward(call: Call) -> Work:
    return _heads(call).backward(_causal(call, triangle))


@formula(aten._scaled_dot_product_attention_math, aten._scaled_dot_product_attention_math_for_mps)
def _unfused(call: Call) -> Work:
    return _heads(call).forward()
