"""FLOPs of whole models from their configuration alone: towers, fusions, trunk, heads; the second implementation.

Nothing here looks at a trace. B batch, T and S tokens, D width. No padding; pictures want no gradient, tokens do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import singledispatch
from typing import NamedTuple

from patchword.config import (
    AttentionConfig,
    AttentionPoolConfig,
    BottleneckFusionConfig,
    CoAttentionFusionConfig,
    ConcatFusionConfig,
    CrossFusionConfig,
    EmbeddingHeadConfig,
    FeedForwardConfig,
    FilmFusionConfig,
    FusionConfig,
    GatedFusionConfig,
    HeadConfig,
    HierarchicalPoolConfig,
    ImageTowerConfig,
    JointFusionConfig,
    LabelHeadConfig,
    LanguageHeadConfig,
    LookingFusionConfig,
    LowRankFusionConfig,
    MappedFusionConfig,
    ModelConfig,
    PerModalityFeedForwardConfig,
    PoolConfig,
    PrefixFusionConfig,
    ReLU2Config,
    RereadFusionConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    StandardFeedForwardConfig,
    SummaryConfig,
    TensorFusionConfig,
    TextTowerConfig,
    WeightedFusionConfig,
)
from tests.sizing.closed_forms import Cost, Shape, fused, mechanism, product


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


def linear(rows: int, inner: int, outer: int, gradients: int = 2) -> Cost:
    return product(1, rows, inner, outer, gradients)


def together(*costs: Cost) -> Cost:
    return Cost().plus(*costs)


# ------------------------------------------------------------------ blocks


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


# ------------------------------------------------------------------ towers


def picture(config: ImageTowerConfig, batch: int) -> Cost:
    """Convolutions and the map of patches, without a gradient for pixels; then blocks."""
    height, width = config.image_size
    channels, parts, first = config.channels, [], 1
    for wider in config.stem:
        height, width = height // 2, width // 2
        parts.append(product(1, batch * height * width, 9 * channels, wider, first))
        channels, first = wider, 2
    cell = config.patch_size[0] * config.patch_size[1] // 4 ** len(config.stem)
    patches = config.grid[0] * config.grid[1]
    parts.append(linear(batch * patches, channels * cell, config.dim, first))
    return together(*parts, stack(config, batch, patches + config.cls_token))


def tokens_of(config: ModelConfig, text: int) -> dict[str, int]:
    """Tokens of each tower, if texts have that many."""
    found = {}
    for name, tower in config.towers.items():
        image = isinstance(tower, ImageTowerConfig)
        found[name] = tower.grid[0] * tower.grid[1] + tower.cls_token if image else text
    return found


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


# ------------------------------------------------------------------ fusions


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


# ------------------------------------------------------------------ heads, models


def head(config: HeadConfig, dim: int, rows: int, tokens: int, vocab: int) -> Cost:
    if isinstance(config, LanguageHeadConfig):
        return linear(rows * tokens, dim, vocab)
    if isinstance(config, LabelHeadConfig):
        return pool(config.pool, dim, rows, tokens).plus(linear(rows, dim, config.num_classes))
    assert isinstance(config, EmbeddingHeadConfig)
    return pool(config.pool, dim, rows, tokens).plus(linear(rows, dim, config.out_dim))


def model(config: ModelConfig, batch: int, text: int, texts: int = 1) -> dict[str, Cost]:
    """Costs by component, as sizing names them; of those that compute anything. `texts`: of each sample."""
    sizes = Sizes(batch, tokens_of(config, text))
    found: dict[str, Cost] = {}
    for name, tower in config.towers.items():
        is_picture = isinstance(tower, ImageTowerConfig)
        found[name] = picture(tower, batch) if is_picture else stack(tower, batch * texts, text)
    ends = {name: (tower.dim, sizes.tokens[name]) for name, tower in config.towers.items()}
    if config.fusion is not None:
        widths = {name: tower.dim for name, tower in config.towers.items()}
        dim = config.trunk.dim if config.trunk is not None else next(iter(widths.values()))
        read = fusion(config.fusion, widths, dim, sizes)
        found["fusion"] = read.cost
        if config.trunk is not None:
            memory = None if read.memory is None else [(read.memory, dim)]
            found["trunk"] = stack(config.trunk, batch * texts, read.tokens, memory, read.triangle, texts)
        ends["trunk"] = (dim, text if config.fusion.continues else read.tokens)
    for name, each in config.heads.items():
        dim, tokens = ends[each.source]
        tower = config.towers.get(each.text) if isinstance(each, LanguageHeadConfig) else None
        vocab = tower.vocab_size or 0 if isinstance(tower, TextTowerConfig) else 0
        found[f"{name} head"] = head(each, dim, batch, tokens, vocab)
    return {name: cost for name, cost in found.items() if any(cost)}
