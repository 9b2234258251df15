"""FLOPs of blocks and pools from their configuration, written from their definitions."""

from __future__ import annotations

from dataclasses import replace

from patchword.config import (
    AttentionConfig,
    AttentionPoolConfig,
    FeedForwardConfig,
    HierarchicalPoolConfig,
    PerModalityFeedForwardConfig,
    PoolConfig,
    ReLU2Config,
    SoftmaxAttentionConfig,
    StackConfig,
    StandardFeedForwardConfig,
    SummaryConfig,
)
from tests.sizing.closed_base import Cost, Shape, fused, product
from tests.sizing.closed_forms import mechanism


def linear(rows: int, inner: int, outer: int, gradients: int = 2) -> Cost:
    return product(1, rows, inner, outer, gradients)


def together(*costs: Cost) -> Cost:
    return Cost().plus(*costs)


def attention(config: AttentionConfig, dim: int, rows: int, queries: int, memory: tuple[int, int] | None) -> Cost:
    """A layer with its maps; `memory`: tokens and width of what is looked at."""
    keys, width = memory if memory is not None else (queries, dim)
    head = config.head_dim or dim // config.num_heads
    groups = config.num_kv_heads or config.num_heads
    shape = Shape(rows, queries, keys, config.num_heads, groups, head, memory is not None)
    own, other = config.num_heads * head, groups * head
    maps = [linear(rows * queries, dim, own), linear(rows * queries, own, dim), linear(rows * keys, width, other)]
    if not config.shares_qk:
        maps.append(linear(rows * keys, width, other))
    if config.gate:
        maps.append(linear(rows * queries, dim, own))
    return mechanism(config, shape).plus(*maps)


def feed_forward(config: FeedForwardConfig, dim: int, rows: int) -> Cost:
    """Two maps, or three where one gates another; parts for modalities are taken to be alike."""
    if isinstance(config, PerModalityFeedForwardConfig):
        return feed_forward(next(iter(config.of.values())), dim, rows)
    plain = isinstance(config, StandardFeedForwardConfig | ReLU2Config)
    hidden = config.hidden_dim or (4 * dim if plain else (8 * dim // 3 + 7) // 8 * 8)
    return together(*[linear(rows, dim, hidden)] * (1 if plain else 2), linear(rows, hidden, dim))


def stack(
    config: StackConfig,
    rows: int,
    tokens: int,
    memories: list[tuple[int, int]] | None = None,
    triangle: bool = True,
    share: int = 1,
) -> Cost:
    """Blocks of one shape; each looks at every memory (tokens, width) through attention of its own.

    Of a memory there are `share` times fewer rows: texts of one sample look at it together.
    """
    own = config.attention
    if own is not None and not triangle:
        assert isinstance(own, SoftmaxAttentionConfig)
        own = replace(own, causal=False)  # a mask is added instead, and all pairs are computed
    parts = [] if own is None else [attention(own, config.dim, rows, tokens, None)]
    if config.cross_attention is not None:
        looks = memories or ()
        parts += [attention(config.cross_attention, config.dim, rows // share, tokens * share, m) for m in looks]
    if config.ffn is not None:
        parts.append(feed_forward(config.ffn, config.dim, rows * tokens))
    return Cost(*(config.depth * each for each in together(*parts)))


# ------------------------------------------------------------------ pools


def look(queries: int, heads: int, dim: int, rows: int, tokens: int) -> Cost:
    """Learned queries, which no map makes, look at tokens."""
    maps = linear(rows * tokens, dim, dim)
    return maps.plus(maps, fused(rows * heads, queries, tokens, dim // heads))


def summary(config: SummaryConfig, dim: int, rows: int, tokens: int) -> Cost:
    return look(config.num_queries, config.num_heads, dim, rows, tokens).plus(
        linear(rows * config.num_queries, dim, dim)
    )


def pool(config: PoolConfig, dim: int, rows: int, tokens: int) -> Cost:
    if isinstance(config, AttentionPoolConfig):
        queries = config.num_queries
        return look(queries, config.num_heads, dim, rows, tokens).plus(linear(rows, queries * dim, dim))
    if isinstance(config, HierarchicalPoolConfig):
        level = AttentionPoolConfig(num_heads=config.num_heads)
        count = max(-(-tokens // config.stride), 1)
        return pool(level, dim, rows * count, config.window).plus(pool(level, dim, rows, count))
    return Cost()
