"""Fused attention: scores, softmax and weighted values in one kernel.

Model FLOPs count every pair of query and key, whatever mask hides some. Hardware FLOPs count the pairs that the kernel
computes: a causal kernel leaves out the blocks above the diagonal, and a backward pass computes scores again.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

from patchword.sizing.flops.registry import Call, aten, formula
from patchword.sizing.record import Work

Blocks = Callable[[int, int], int]
"""Queries and keys to the pairs that a causal kernel computes."""


def triangle(queries: int, keys: int) -> int:
    """Pairs on and below the diagonal from the top left: what a causal kernel of the finest blocks computes."""
    full = min(queries, keys)
    return full * (full + 1) // 2 + max(queries - keys, 0) * keys


def blocks_on_cpu(queries: int, keys: int) -> int:
    """Pairs that torch's kernel for the CPU computes under a causal mask.

    It takes queries in blocks of 32, 64 or 256 and keys in blocks of 512, and of each block of queries leaves out the
    blocks of keys that begin after its last query (aten/src/ATen/native/cpu/FlashAttentionKernel.cpp). Up to 512 keys
    that saves nothing.
    """
    rows = 256 if queries >= 768 else 64 if queries >= 192 else 32
    pairs = 0
    for first in range(0, queries, rows):
        end = min(first + rows, queries)
        pairs += (end - first) * min(-(-min(end, keys) // 512) * 512, keys)
    return pairs


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

    def forward(self, causal: Blocks | None) -> Work:
        """Scores and weighted values."""
        every, computed = self._pairs(causal)
        both = 2 * (self.width + self.value_width)
        return Work(every * both, computed * both, 5 * computed)

    def backward(self, causal: Blocks | None) -> Work:
        """Gradients of values, weights, queries and keys; the kernel computes scores again beside."""
        every, computed = self._pairs(causal)
        asked = 4 * (self.width + self.value_width)
        return Work(every * asked, computed * (asked + 2 * self.width), 8 * computed)

    def _pairs(self, causal: Blocks | None) -> tuple[int, int]:
        every = self.queries * self.keys
        return self.heads * every, self.heads * (causal(self.queries, self.keys) if causal is not None else every)


def _heads(call: Call) -> Heads:
    return Heads.of(call["query"], call["key"], call["value"])


def _blocks(call: Call, blocks: Blocks) -> Blocks | None:
    return blocks if call["is_causal"] else None


@formula(aten._scaled_dot_product_flash_attention_for_cpu)
def _on_cpu(call: Call) -> Work:
    return _heads(call).forward(_blocks(call, blocks_on_cpu))


@formula(aten._scaled_dot_product_flash_attention_for_cpu_backward)
def _on_cpu_backward(call: Call) -> Work:
    return _heads(call).backward(_blocks(call, blocks_on_cpu))


@formula(
    aten._scaled_dot_product_flash_attention,
    aten._scaled_dot_product_efficient_attention,
    aten._scaled_dot_product_cudnn_attention,
    aten._scaled_dot_product_fused_attention_overrideable,
)
def _fused(call: Call) -> Work:
    return _heads(call).forward(_blocks(call, triangle))


@formula(
    aten._scaled_dot_product_flash_attention_backward,
    aten._scaled_dot_product_efficient_attention_backward,
    aten._scaled_dot_product_cudnn_attention_backward,
    aten._scaled_dot_product_fused_attention_overrideable_backward,
)
def _fused_backward(call: Call) -> Work:
    return _heads(call).backward(_blocks(call, triangle))
