"""Every attention mechanism against its closed form, forward and backward, to the last digit."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
import torch

from patchword.config import (
    AttentionConfig,
    BlockPatternConfig,
    DifferentialAttentionConfig,
    FixedPatternConfig,
    LinearAttentionConfig,
    LinformerAttentionConfig,
    LocalPatternConfig,
    PerformerAttentionConfig,
    ReformerAttentionConfig,
    SoftmaxAttentionConfig,
    SparseAttentionConfig,
    StridedPatternConfig,
    TopKAttentionConfig,
)
from patchword.nn.attention import Attention, View
from patchword.nn.mechanisms import topk
from patchword.sequence import Mask, SequenceInfo
from tests.sizing.closed_base import Cost, Shape, product
from tests.sizing.closed_forms import mechanism, topk_in_chunks
from tests.sizing.counting import counted


def sparse(pattern: Any, **settings: Any) -> SparseAttentionConfig:
    return SparseAttentionConfig(pattern=pattern, **settings)


KINDS: dict[str, AttentionConfig] = {
    "softmax": SoftmaxAttentionConfig(),
    "softmax causal": SoftmaxAttentionConfig(causal=True),
    "softmax window": SoftmaxAttentionConfig(window=4),
    "softmax causal window": SoftmaxAttentionConfig(causal=True, window=4),
    "local": sparse(LocalPatternConfig(reach=5)),
    "local causal": sparse(LocalPatternConfig(reach=5), causal=True),
    "local dilated": sparse(LocalPatternConfig(reach=3, dilation=2)),
    "local global": sparse(LocalPatternConfig(reach=5, num_global=3)),
    "local global causal": sparse(LocalPatternConfig(reach=5, num_global=3), causal=True),
    "block": sparse(BlockPatternConfig(block_size=4)),
    "block causal": sparse(BlockPatternConfig(block_size=4, num_random=2), causal=True),
    "block plain": sparse(BlockPatternConfig(block_size=8, num_global=0, num_random=0)),
    "strided": sparse(StridedPatternConfig(stride=5)),
    "strided causal": sparse(StridedPatternConfig(stride=5), causal=True),
    "fixed": sparse(FixedPatternConfig(block_size=8, summary=2)),
    "fixed causal": sparse(FixedPatternConfig(block_size=8, summary=2), causal=True),
    "topk": TopKAttentionConfig(k=3),
    "topk causal": TopKAttentionConfig(k=3, causal=True),
    "linear": LinearAttentionConfig(),
    "linear causal": LinearAttentionConfig(causal=True, chunk=8),
    "linear learned": LinearAttentionConfig(feature_dim=7, feature="softmax"),
    "linear learned causal": LinearAttentionConfig(feature_dim=7, causal=True, chunk=100),
    "performer": PerformerAttentionConfig(),
    "performer causal": PerformerAttentionConfig(causal=True, chunk=8),
    "performer hyperbolic": PerformerAttentionConfig(feature="hyperbolic", num_features=10),
    "performer relu causal": PerformerAttentionConfig(feature="relu", num_features=9, causal=True, chunk=8),
    "linformer": LinformerAttentionConfig(max_len=400, pooled_len=5),
    "linformer a map a head": LinformerAttentionConfig(max_len=400, pooled_len=5, sharing="none"),
    "linformer one map": LinformerAttentionConfig(max_len=400, pooled_len=5, sharing="kv"),
    "reformer": ReformerAttentionConfig(bucket_size=8),
    "reformer causal": ReformerAttentionConfig(bucket_size=8, causal=True, num_hashes=2),
    "reformer one bucket": ReformerAttentionConfig(bucket_size=512),
    "differential": DifferentialAttentionConfig(),
    "differential causal": DifferentialAttentionConfig(causal=True),
}


def maps(config: AttentionConfig, shape: Shape, dim: int, memory_dim: int) -> Cost:
    """Projections: queries, keys (but where queries are keys), values, results."""
    queries, keys = shape.heads * shape.width, shape.groups * shape.width
    rows = shape.batch * shape.queries
    found = [product(1, rows, dim, queries), product(1, rows, queries, dim)]
    every = product(1, shape.batch * shape.keys, memory_dim, keys)
    return Cost().plus(*found, every, *([] if config.shares_qk else [every]))


def check(config: AttentionConfig, shape: Shape, dim: int, memory_dim: int) -> None:
    grouped = shape.groups if shape.groups != shape.heads else None
    config = replace(config, num_heads=shape.heads, num_kv_heads=grouped, head_dim=shape.width)
    layer = Attention(config, dim, memory_dim if shape.cross else None)
    x = torch.randn(shape.batch, shape.queries, dim, requires_grad=True)
    memory = torch.randn(shape.batch, shape.keys, memory_dim, requires_grad=True) if shape.cross else None
    info = SequenceInfo()
    own = Mask(info, info, shape.queries, shape.queries)
    mask = Mask(info, info, shape.queries, shape.keys, own=own) if shape.cross else own

    def step() -> None:
        layer(x, View(mask, memory=memory)).sum().backward()

    found = counted(step, layer)
    expected = mechanism(config, shape).plus(maps(config, shape, dim, memory_dim))
    assert found.ledger == {}
    assert (found.forward, found.backward, found.hardware) == expected


def drawn(name: str, cross: bool, seed: int) -> tuple[Shape, int, int]:
    """Small sizes, some of them of one token."""
    draw = random.Random(f"{name}/{cross}/{seed}")
    heads = draw.choice([2, 4])
    groups = draw.choice([heads, 2])
    queries = draw.choice([1, draw.randint(2, 20), draw.randint(30, 90)]) if seed else draw.randint(40, 90)
    if "differential" in name or "one bucket" in name:
        queries = max(queries, 2)
    keys = draw.choice([1, draw.randint(2, 20), draw.randint(30, 90)]) if cross else queries
    shape = Shape(draw.randint(1, 3), queries, keys, heads, groups, draw.choice([4, 8]), cross)
    return shape, 4 * draw.randint(2, 6), draw.randint(3, 20)


@pytest.mark.filterwarnings("ignore:linformer attention pools")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", KINDS)
def test_self_attention(name: str, seed: int) -> None:
    shape, dim, _ = drawn(name, False, seed)
    check(KINDS[name], shape, dim, dim)


CROSS = [
    name for name, config in KINDS.items() if "cross" in config.can and not config.causal and config.window is None
]


@pytest.mark.filterwarnings("ignore:linformer attention pools")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", CROSS)
def test_cross_attention(name: str, seed: int) -> None:
    check(KINDS[name], *drawn(name, True, seed))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("groups", [2, 1])
def test_a_short_window_of_a_long_sequence(causal: bool, groups: int) -> None:
    shape = Shape(2, 350, 350, 2, groups, 4)
    config = SoftmaxAttentionConfig(causal=causal, window=4)
    check(config, shape, 8, 8)
    assert mechanism(config, shape).forward < mechanism(SoftmaxAttentionConfig(), shape).forward // 2


@pytest.mark.parametrize("length", [200, 600, 800])
@pytest.mark.parametrize("kind", [SoftmaxAttentionConfig, DifferentialAttentionConfig])
def test_long_causal_sequences(kind: type[AttentionConfig], length: int) -> None:
    check(kind(causal=True), Shape(1, length, length, 2, 2, 4), 8, 8)


@pytest.mark.parametrize("causal", [False, True])
def test_topk_in_chunks_computes_scores_again(causal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    shape, dim = Shape(2, 20, 20, 2, 2, 4), 8
    monkeypatch.setattr(topk, "_ROOM", 6 * 2 * 2 * 20)
    config = replace(KINDS["topk"], num_heads=2, head_dim=4, causal=causal)
    layer = Attention(config, dim)
    info = SequenceInfo()
    x = torch.randn(2, 20, dim, requires_grad=True)
    found = counted(lambda: layer(x, View(Mask(info, info, 20, 20))).sum().backward(), layer)
    expected = topk_in_chunks(shape, causal, 6).plus(maps(config, shape, dim, dim))
    assert (found.forward, found.backward, found.hardware) == expected


FACTS: dict[str, SequenceInfo] = {
    "padding": SequenceInfo(valid=torch.arange(350) < torch.tensor([[350], [300]])),
    "documents": SequenceInfo(segment=(torch.arange(350) // 70).expand(2, -1)),
    "both": SequenceInfo(valid=torch.arange(350) < torch.tensor([[349], [20]]), segment=torch.arange(350)[None] // 99),
}


@pytest.mark.parametrize("facts", FACTS)
@pytest.mark.parametrize("name", ["softmax causal window", "local", "block causal", "fixed", "softmax causal"])
def test_masks_count_what_kernels_are_asked_for(name: str, facts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Padding and documents change which blocks there are: each block is counted as the kernel gets it."""
    pairs: list[int] = []
    fused = torch.nn.functional.scaled_dot_product_attention

    def watched(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **settings: Any) -> torch.Tensor:
        assert not settings.get("is_causal")
        pairs.append(q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2])
        return fused(q, k, v, **settings)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    config, dim = replace(KINDS[name], num_heads=2, head_dim=4), 8
    layer, x = Attention(config, dim), torch.randn(2, 350, dim, requires_grad=True)
    mask = Mask(FACTS[facts], FACTS[facts], 350, 350)
    found = counted(lambda: layer(x, View(mask)).sum().backward(), layer)
    around = maps(config, Shape(2, 350, 350, 2, 2, 4), dim, dim)
    assert found.forward - around.forward == 4 * sum(pairs) * 4
    assert found.backward == 2 * found.forward
    assert found.hardware - around.hardware == 14 * sum(pairs) * 4
