"""FLOPs of every fusion from its configuration, written from their definitions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatch
from typing import NamedTuple

from patchword.config import (
    BottleneckFusionConfig,
    CoAttentionFusionConfig,
    ConcatFusionConfig,
    CrossFusionConfig,
    FilmFusionConfig,
    FusionConfig,
    GatedFusionConfig,
    JointFusionConfig,
    LookingFusionConfig,
    LowRankFusionConfig,
    MappedFusionConfig,
    PoolConfig,
    PrefixFusionConfig,
    RereadFusionConfig,
    TensorFusionConfig,
    WeightedFusionConfig,
)
from tests.sizing.closed_base import Cost
from tests.sizing.closed_blocks import linear, pool, stack, summary, together


class Sizes(NamedTuple):
    """A batch, and the tokens of each tower."""

    batch: int
    tokens: Mapping[str, int]


class Read(NamedTuple):
    """What a fusion costs, and what the trunk reads after it."""

    cost: Cost
    tokens: int
    memory: int | None = None
    triangle: bool = True
    """Whether a causal mask is a plain triangle, which kernels know."""


def projected(kind: str | None, rows: int, width: int, dim: int) -> Cost:
    if kind == "mlp":
        return linear(rows, width, dim).plus(linear(rows, dim, dim))
    return linear(rows, width, dim) if kind == "linear" or width != dim else Cost()


@singledispatch
def fusion(config: FusionConfig, widths: Mapping[str, int], dim: int, sizes: Sizes) -> Read:
    """What it costs that towers of these widths meet."""
    raise NotImplementedError(config.kind)


def mapped(config: MappedFusionConfig, widths: Mapping[str, int], dim: int, sizes: Sizes, keep: str = "") -> Cost:
    """All towers but one at the trunk's width."""
    names = [name for name in widths if name != keep]
    return together(*(projected(config.projector, sizes.batch * sizes.tokens[n], widths[n], dim) for n in names))


def looking(config: LookingFusionConfig, widths: Mapping[str, int], dim: int, sizes: Sizes) -> tuple[Cost, int]:
    """The others' tokens, or a summary of each; how many there are."""
    cost, names = mapped(config, widths, dim, sizes, config.reader), [n for n in widths if n != config.reader]
    if config.summary is None:
        return cost, sum(sizes.tokens[name] for name in names)
    looks = (summary(config.summary, dim, sizes.batch, sizes.tokens[name]) for name in names)
    return cost.plus(*looks), len(names) * config.summary.num_queries


@fusion.register
def _cross(config: CrossFusionConfig, widths: Mapping[str, int], dim: int, sizes: Sizes) -> Read:
    cost, memory = looking(config, widths, dim, sizes)
    return Read(cost, sizes.tokens[config.reader], memory)


@fusion.register
def _joint(config: JointFusionConfig, widths: Mapping[str, int], dim: int, sizes: Sizes) -> Read:
    cost, before = looking(config, widths, dim, sizes)
    return Read(cost, before + sizes.tokens[config.reader])


@fusion.register
def _prefix(config: PrefixFusionConfig, widths: Mapping[str, int], dim: int, sizes: Sizes) -> Read:
    cost, before = looking(config, widths, dim, sizes)
    return Read(cost, before + sizes.tokens[config.reader], None, triangle=False)


@fusion.register
def _film(config: FilmFusionConfig, widths: Mapping[str, int], dim: int, sizes: Sizes) -> Read:
    names = [n for n in widths if n != config.reader]
    pools = (pool(config.pool, dim, sizes.batch, sizes.tokens[name]) for name in names)
    films = [linear(sizes.batch, dim, 2 * dim)] * len(names)
    cost = mapped(config, widths, dim, sizes, config.reader).plus(*pools, *films)
    return Read(cost, sizes.tokens[config.reader])


@fusion.register
def _co_attention(config: CoAttentionFusionConfig, widths: Mapping[str, int], dim: int, sizes: Sizes) -> Read:
    shape, streams = config.layers.stack(dim), []
    for name, tokens in sizes.tokens.items():
        others = [(count, dim) for other, count in sizes.tokens.items() if other != name]
        streams.append(stack(shape, sizes.batch, tokens, others))
    return Read(mapped(config, widths, dim, sizes).plus(*streams), sum(sizes.tokens.values()))


@fusion.register
def _reread(config: RereadFusionConfig, widths: Mapping[str, int], dim: int, sizes: Sizes) -> Read:
    every = sum(sizes.tokens.values())
    memories = [(count, dim) for count in sizes.tokens.values()]
    layers = stack(config.layers.stack(dim), sizes.batch, every, memories)
    return Read(mapped(config, widths, dim, sizes).plus(layers), every)


@fusion.register
def _bottleneck(config: BottleneckFusionConfig, widths: Mapping[str, int], dim: int, sizes: Sizes) -> Read:
    shape = config.layers.stack(dim)
    streams = (stack(shape, sizes.batch, count + config.num_tokens) for count in sizes.tokens.values())
    return Read(mapped(config, widths, dim, sizes).plus(*streams), sum(sizes.tokens.values()))


def pooled(config: FusionConfig, widths: Mapping[str, int], sizes: Sizes) -> Cost:
    kind: PoolConfig = config.pool  # pyright: ignore[reportAttributeAccessIssue]
    return together(*(pool(kind, width, sizes.batch, sizes.tokens[name]) for name, width in widths.items()))


@fusion.register
def _concat(config: ConcatFusionConfig, widths: Mapping[str, int], dim: int, sizes: Sizes) -> Read:
    hidden = config.hidden_dim or 2 * dim
    maps = linear(sizes.batch, sum(widths.values()), hidden).plus(linear(sizes.batch, hidden, dim))
    return Read(pooled(config, widths, sizes).plus(maps), 1)


@fusion.register
def _weighted(config: WeightedFusionConfig, widths: Mapping[str, int], dim: int, sizes: Sizes) -> Read:
    maps = (projected(config.projector, sizes.batch, width, dim) for width in widths.values())
    return Read(pooled(config, widths, sizes).plus(*maps), 1)


@fusion.register
def _gated(config: GatedFusionConfig, widths: Mapping[str, int], dim: int, sizes: Sizes) -> Read:
    maps = [projected(config.projector, sizes.batch, width, dim) for width in widths.values()]
    gates = [linear(sizes.batch, len(widths) * dim, dim)] * len(widths)
    return Read(pooled(config, widths, sizes).plus(*maps, *gates, linear(sizes.batch, dim, dim)), 1)


def narrowed(width: int | None, widths: Mapping[str, int], batch: int) -> tuple[Cost, list[int]]:
    """Maps to a common width, and the width of each vector with a 1 before it."""
    if width is None:
        return Cost(), [1 + each for each in widths.values()]
    return together(*(linear(batch, each, width) for each in widths.values())), [1 + width] * len(widths)


@fusion.register
def _tensor(config: TensorFusionConfig, widths: Mapping[str, int], dim: int, sizes: Sizes) -> Read:
    maps, sides = narrowed(config.width, widths, sizes.batch)
    volume = 1
    for side in sides:
        volume *= side
    return Read(pooled(config, widths, sizes).plus(maps, linear(sizes.batch, volume, dim)), 1)


@fusion.register
def _low_rank(config: LowRankFusionConfig, widths: Mapping[str, int], dim: int, sizes: Sizes) -> Read:
    maps, sides = narrowed(config.width, widths, sizes.batch)
    factors = (linear(sizes.batch, side, config.rank * dim) for side in sides)
    return Read(pooled(config, widths, sizes).plus(maps, *factors), 1)
