"""FLOPs of every attention mechanism, written from its definition: the second implementation.

Nothing here looks at a trace. B batch, H heads, G key/value heads, T queries, S keys, E head width, F features. No
padding, no documents; queries, keys and values all want gradients.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from functools import singledispatch
from typing import NamedTuple

from patchword.config import (
    AttentionConfig,
    BlockPatternConfig,
    DifferentialAttentionConfig,
    FixedPatternConfig,
    LinearAttentionConfig,
    LinformerAttentionConfig,
    LocalPatternConfig,
    PatternConfig,
    PerformerAttentionConfig,
    ReformerAttentionConfig,
    SoftmaxAttentionConfig,
    SparseAttentionConfig,
    StridedPatternConfig,
    TopKAttentionConfig,
)


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


@singledispatch
def mechanism(config: AttentionConfig, shape: Shape) -> Cost:
    """What a mechanism costs."""
    raise NotImplementedError(config.kind)


@mechanism.register
def _softmax(config: SoftmaxAttentionConfig, shape: Shape) -> Cost:
    if config.window is not None:
        near = config.window * (1 if config.causal else 2) + band_of(config.window)
        if shape.queries >= 256 and shape.keys >= 256 + 2 * near:
            return gathered(shape, banded(LocalPatternConfig(reach=config.window), shape, config.causal))
        return fused(shape.rows, shape.queries, shape.keys, shape.width)
    done = in_blocks(shape.queries, shape.keys) if config.causal else None
    return fused(shape.rows, shape.queries, shape.keys, shape.width, done)


@mechanism.register
def _differential(config: DifferentialAttentionConfig, shape: Shape) -> Cost:
    """Values of a pair side by side, and zeros behind keys to the same width: everything is twice as wide."""
    done = in_blocks(shape.queries, shape.keys) if config.causal else None
    return fused(shape.rows, shape.queries, shape.keys, 2 * shape.width, done)


@mechanism.register
def _topk(config: TopKAttentionConfig, shape: Shape) -> Cost:
    """Scores of all pairs, then weighted values of all: what is left out has weight zero."""
    return topk_in_chunks(shape, config.causal, shape.queries)


def topk_in_chunks(shape: Shape, causal: bool, chunk: int) -> Cost:
    """Queries a chunk at a time; several are computed again backward, but for the last product: its result is there."""
    total = Cost()
    for first in range(0, shape.queries, chunk):
        count = min(chunk, shape.queries - first)
        keys = first + count if causal else shape.keys
        again = 1 if chunk < shape.queries else 0
        total = total.plus(
            product(shape.rows, count, shape.width, keys, again=again), product(shape.rows, count, keys, shape.width)
        )
    return total


@mechanism.register
def _linformer(config: LinformerAttentionConfig, shape: Shape) -> Cost:
    heads = shape.heads if config.sharing == "none" else shape.groups
    pooled = product(shape.batch * heads, config.pooled_len, shape.keys, shape.width)
    return pooled.plus(pooled, fused(shape.rows, shape.queries, config.pooled_len, shape.width))


@mechanism.register
def _reformer(config: ReformerAttentionConfig, shape: Shape) -> Cost:
    """Each round: hashes without a gradient; then chunks against themselves and their neighbours."""
    length, size = shape.queries, min(config.bucket_size, shape.queries)
    bits = math.ceil(math.log2(math.ceil(length / config.bucket_size)))
    capacity = int(math.log2(2 * shape.width))
    rounds = config.num_hashes if bits else 1
    total = Cost()
    for done in range(0, bits, capacity):
        directions = 2 ** (min(bits - done, capacity) - 1)
        total = total.plus(product(shape.rows, length, shape.width, directions, gradients=0))
    wide = size * ((2 if config.causal else 3) if length > size else 1)
    chunks = shape.rows * math.ceil(length / size)
    total = total.plus(product(chunks, size, shape.width, wide), product(chunks, size, wide, shape.width))
    return Cost(*(rounds * each for each in total))


# ------------------------------------------------------------------ features


@mechanism.register
def _linear(config: LinearAttentionConfig, shape: Shape) -> Cost:
    features, maps = shape.width, Cost()
    if config.feature_dim is not None:
        features = config.feature_dim
        maps = product(shape.rows, shape.queries, shape.width, features).plus(
            product(shape.batch * shape.groups, shape.keys, shape.width, features)
        )
    return maps.plus(_sums(shape, features, config.chunk if config.causal else None))


@mechanism.register
def _performer(config: PerformerAttentionConfig, shape: Shape) -> Cost:
    """Directions are drawn, not learned: no gradient for them."""
    times = 2 if config.feature == "hyperbolic" else 1
    asked = config.num_features or max(int(shape.width * math.log(shape.width)), 1)
    directions = math.ceil(asked / times)
    maps = product(shape.rows, shape.queries, shape.width, directions, gradients=1).plus(
        product(shape.batch * shape.groups, shape.keys, shape.width, directions, gradients=1)
    )
    return maps.plus(_sums(shape, directions * times, config.chunk if config.causal else None))


def _sums(shape: Shape, features: int, chunk: int | None) -> Cost:
    """phi(q) (phi(k)^T (v, 1)): whole, or in chunks with the sums before each."""
    groups = shape.batch * shape.groups
    if chunk is None:
        added = product(groups, features, shape.keys, shape.width)
        read = product(shape.rows, shape.queries, features, shape.width + 1)
        return added.plus(read)
    count = max(math.ceil(shape.queries / chunk), 1)
    size = math.ceil(shape.queries / count)
    inside = product(shape.rows * count, size, features, size).plus(
        product(shape.rows * count, size, size, shape.width + 1)
    )
    if count == 1:
        return inside
    added = product(groups * count, features, size, shape.width + 1)
    return inside.plus(added, product(shape.rows * count, size, features, shape.width + 1))


# ------------------------------------------------------------------ patterns


class Groups(NamedTuple):
    """Queries that look at the same keys: how many groups, queries of the fullest, keys of each."""

    count: int
    queries: int
    keys: int


def gathered(shape: Shape, groups: list[Groups]) -> Cost:
    """One look, in fused kernels."""
    return Cost().plus(*(fused(shape.rows * g.count, g.queries, g.keys, shape.width) for g in groups))


def united(shape: Shape, groups: list[Groups]) -> Cost:
    """Several looks under one softmax: scores are made and kept."""
    parts = [product(shape.rows * g.count, g.queries, shape.width, g.keys) for g in groups]
    return Cost().plus(*parts, *(product(shape.rows * g.count, g.queries, g.keys, shape.width) for g in groups))


def band_of(reach: int) -> int:
    return min(128, max(32, 2 * reach))


def cells(ranks: Iterator[int], cell: Callable[[int], object], keys: int) -> list[Groups]:
    """Ranks of one cell are a group; empty: none."""
    sizes = Counter(cell(rank) for rank in ranks)
    return [Groups(len(sizes), max(sizes.values()), keys)] if sizes else []


def ranks_of(shape: Shape, ratio: float) -> list[int]:
    return [math.floor(i * ratio) if shape.cross else i for i in range(shape.queries)]


@mechanism.register
def _sparse(config: SparseAttentionConfig, shape: Shape) -> Cost:
    return pattern(config.pattern, config, shape)


@singledispatch
def pattern(config: PatternConfig, attention: SparseAttentionConfig, shape: Shape) -> Cost:
    """What a pattern costs."""
    raise NotImplementedError(config.kind)


def alone(keys: int, shape: Shape, parts: int, seers: bool) -> list[Groups]:
    """A single query is a group of its own: once a part, and once more where between sequences some see all."""
    return [Groups(1, 1, keys)] * parts + [Groups(1, 1, shape.keys)] * (shape.cross and seers)


def banded(config: LocalPatternConfig, shape: Shape, causal: bool, ratio: float = 1.0) -> list[Groups]:
    """Chunks of a residue class; those at the edges apart from those within, where all look alike."""
    if shape.queries == 1:
        keys = config.reach + (config.reach - 1 if shape.cross else 0) + config.num_global
        return alone(keys, shape, 1 if shape.cross else 2, bool(config.num_global))
    size, reach, step, first = band_of(config.reach), config.reach, config.dilation, config.num_global
    behind = causal and not shape.cross
    keys = size + reach - 1 + (0 if behind else reach - 1) + first
    seers = [] if behind else [r for r in ranks_of(shape, ratio) if r < first]
    rest = [r for r in ranks_of(shape, ratio) if behind or r >= first]

    def cell(rank: int) -> tuple[int, int]:
        return rank % step, rank // step // size

    def whole(rank: int) -> bool:
        kind, start = rank % step, rank // step // size * size
        low = (start + 1 - reach) * step + kind
        high = (start + size - 1 + (0 if behind else reach - 1)) * step + kind
        return low >= first and high < shape.keys

    found = cells(iter(seers), lambda _: 0, shape.keys)
    if shape.cross:
        return [*found, *cells(iter(rest), cell, keys)]
    for part in (False, True):
        found += cells((r for r in rest if whole(r) == part), cell, keys)
    return found


@pattern.register
def _local(config: LocalPatternConfig, attention: SparseAttentionConfig, shape: Shape) -> Cost:
    return gathered(shape, banded(config, shape, attention.causal, attention.memory_ratio))


@pattern.register
def _block(config: BlockPatternConfig, attention: SparseAttentionConfig, shape: Shape) -> Cost:
    behind = (attention.causal or shape.queries == 1) and not shape.cross
    blocks = config.num_neighbours * (1 if behind else 2) + 1 + config.num_global + config.num_random
    if shape.queries == 1:
        return gathered(shape, alone(blocks * config.block_size, shape, 1, bool(config.num_global)))
    first = 0 if behind else config.num_global * config.block_size
    ranks = ranks_of(shape, attention.memory_ratio)
    found = cells((r for r in ranks if r < first), lambda _: 0, shape.keys)
    rest = cells((r for r in ranks if r >= first), lambda r: r // config.block_size, blocks * config.block_size)
    return gathered(shape, found + rest)


@pattern.register
def _strided(config: StridedPatternConfig, attention: SparseAttentionConfig, shape: Shape) -> Cost:
    ranks, size = ranks_of(shape, attention.memory_ratio), band_of(config.stride)
    reach = config.stride - 1
    near = size + reach * (1 if attention.causal and not shape.cross else 2)
    far = math.ceil(shape.keys / config.stride)
    if shape.queries == 1:  # one look at both
        return gathered(shape, alone(1 + reach * (2 if shape.cross else 1) + far, shape, 1, seers=False))
    looks = cells(iter(ranks), lambda r: r // size, near) + cells(iter(ranks), lambda r: r % config.stride, far)
    return united(shape, looks)


@pattern.register
def _fixed(config: FixedPatternConfig, attention: SparseAttentionConfig, shape: Shape) -> Cost:
    ranks = ranks_of(shape, attention.memory_ratio)
    keys = config.block_size + config.summary * math.ceil(shape.keys / config.block_size)
    return gathered(shape, cells(iter(ranks), lambda r: r // config.block_size, keys))
