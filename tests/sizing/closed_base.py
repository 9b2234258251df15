"""What closed forms are made of: costs, shapes, products, fused attention.

B batch, H heads, G key/value heads, T queries, S keys, E head width.
"""

from __future__ import annotations

import math
from typing import NamedTuple


class Cost(NamedTuple):
    """Model FLOPs of both passes, and all that kernels compute."""

    forward: int = 0
    backward: int = 0
    hardware: int = 0

    def plus(self, *others: Cost) -> Cost:
        return Cost(*(sum(column) for column in zip(self, *others, strict=True)))


class Shape(NamedTuple):
    """What a layer of attention is given."""

    batch: int
    queries: int
    keys: int
    heads: int
    groups: int
    width: int
    cross: bool = False

    @property
    def rows(self) -> int:
        return self.batch * self.heads


def product(count: int, m: int, k: int, n: int, gradients: int = 2, again: int = 0) -> Cost:
    """`count` products of [m, k] by [k, n]; each gradient is a product of as many FLOPs."""
    flops = 2 * count * m * k * n
    return Cost(flops, gradients * flops, (1 + gradients + again) * flops)


def fused(rows: int, queries: int, keys: int, width: int, computed: int | None = None) -> Cost:
    """Scores and weighted values; backward four products and the scores once more."""
    every = 4 * rows * queries * keys * width
    done = every if computed is None else 4 * rows * computed * width
    return Cost(every, 2 * every, done + 2 * done + done // 2)


def in_blocks(queries: int, keys: int) -> int:
    """Pairs of the CPU's causal kernel, row by row."""
    height = 32 if queries < 192 else 64 if queries < 768 else 256
    total = 0
    for query in range(queries):
        last = min((query // height + 1) * height, queries)
        total += min(math.ceil(min(last, keys) / 512) * 512, keys)
    return total
