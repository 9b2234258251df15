"""FLOPs of every attention mechanism, written from its definition: the second implementation.

Nothing here looks at a trace. B batch, H heads, G key/value heads, T queries, S keys, E head width, F features. No
padding, no documents; queries, keys and values all want gradients.
"""

from __future__ import annotations

import math
from functools import singledispatch

from patchword.config import (
    AttentionConfig,
    DifferentialAttentionConfig,
    LinearAttentionConfig,
    LinformerAttentionConfig,
    LocalPatternConfig,
    PerformerAttentionConfig,
    ReformerAttentionConfig,
    SoftmaxAttentionConfig,
    SparseAttentionConfig,
    TopKAttentionConfig,
)
from tests.sizing.closed_base import Cost, Shape, fused, in_blocks, product
from tests.sizing.closed_patterns import band_of, banded, gathered, pattern


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


@mechanism.register
def _sparse(config: SparseAttentionConfig, shape: Shape) -> Cost:
    return pattern(config.pattern, config, shape)
