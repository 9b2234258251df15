"""FLOPs of sparse patterns, written from their definitions: queries that look at the same keys are a group."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from functools import singledispatch
from typing import NamedTuple

from patchword.config import (
    BlockPatternConfig,
    FixedPatternConfig,
    LocalPatternConfig,
    PatternConfig,
    SparseAttentionConfig,
    StridedPatternConfig,
)
from tests.sizing.closed_base import Cost, Shape, fused, product


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
