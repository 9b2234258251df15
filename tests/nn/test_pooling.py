"""Sequences as vectors, against their definitions row by row."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from patchword.config import (
    AttentionPoolConfig,
    ConfigError,
    FirstPoolConfig,
    HierarchicalPoolConfig,
    LabelHeadConfig,
    LastPoolConfig,
    MeanPoolConfig,
    ModelConfig,
    PoolConfig,
    RMSNormConfig,
    StandardFeedForwardConfig,
    SummaryConfig,
    TextTowerConfig,
)
from patchword.nn.pooling import Summary
from patchword.sequence import SequenceInfo, Tokens
from patchword.testing import randomise

POOLS = [
    MeanPoolConfig(),
    FirstPoolConfig(),
    LastPoolConfig(),
    AttentionPoolConfig(),
    AttentionPoolConfig(num_queries=3, num_heads=2),
    AttentionPoolConfig(ffn=StandardFeedForwardConfig(), norm=RMSNormConfig()),
    HierarchicalPoolConfig(window=3, stride=2),
    HierarchicalPoolConfig(window=2, stride=2, num_heads=1),
]
EACH = pytest.mark.parametrize("config", POOLS, ids=lambda c: f"{c.kind} {c.to_dict()}")


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def made(config: PoolConfig) -> nn.Module:
    pool = config.build(8)
    randomise(pool, torch.Generator().manual_seed(2))
    return pool.double()


def pooled(config: PoolConfig, x: Tensor, valid: Tensor | None) -> Tensor:
    return made(config)(Tokens(x, SequenceInfo(valid=valid)))


def by_definition(kind: str, row: Tensor) -> Tensor:
    if not len(row):
        return torch.zeros(8, dtype=row.dtype)
    return {"mean": row.mean(0), "first": row[0], "last": row[-1]}[kind]


def test_every_kind_is_tried() -> None:
    assert {config.kind for config in POOLS} == set(PoolConfig.kinds)


@EACH
def test_pooling(config: PoolConfig) -> None:
    x = numbers(5, 6, 8)
    valid = torch.rand(5, 6) < 0.5
    valid[0], valid[1], valid[2] = True, False, torch.tensor([False] * 5 + [True])
    got = pooled(config, x, valid)
    torch.testing.assert_close(pooled(config, x, None)[0], got[0])
    for i in range(5):
        row = x[i, valid[i]]
        alone = pooled(config, row[None], None)[0]
        torch.testing.assert_close(got[i], alone, atol=1e-12, rtol=1e-12)
        if config.kind in ("mean", "first", "last"):
            torch.testing.assert_close(got[i], by_definition(config.kind, row), atol=1e-12, rtol=1e-12)
    assert got[1].eq(0).all(), "a sequence without real tokens gives zeros"
    assert pooled(config, x[:0], valid[:0]).shape == (0, 8)
    assert pooled(config, x[:, :0], valid[:, :0]).eq(0).all()


@EACH
def test_gradients_are_finite_and_whole(config: PoolConfig) -> None:
    for batch, length in ((3, 5), (2, 0), (0, 4), (0, 0), (1, 1)):
        pool, x = made(config), numbers(batch, length, 8).requires_grad_()
        valid = torch.rand(batch, length) < 0.5
        valid[:1] = False
        out = pool(Tokens(x, SequenceInfo(valid=valid)))
        out.square().sum().backward()
        for name, weight in pool.named_parameters():
            assert weight.grad is not None, name
            assert weight.grad.isfinite().all(), name
        assert x.grad is None or x.grad.isfinite().all()


def found(look: Any, row: Tensor) -> Tensor:
    """What learned queries find in a row of tokens, one head and query at a time; [Q, D]."""
    heads, width = look.num_heads, 8 // look.num_heads
    k, v = look.k_proj(row), look.v_proj(row)
    out = []
    for query in look.queries:
        parts = []
        for h in range(heads):
            own = slice(h * width, (h + 1) * width)
            weights = (k[:, own] @ query[own] / width**0.5).softmax(0)
            parts.append(weights @ v[:, own])
        out.append(torch.cat(parts))
    return torch.stack(out)


@pytest.mark.parametrize("queries", [1, 3])
def test_attention_pooling_is_one_map_of_weighted_means(queries: int) -> None:
    pool: Any = made(AttentionPoolConfig(num_heads=2, num_queries=queries))
    x = numbers(2, 5, 8)
    want = torch.stack([pool.out_proj(found(pool.look, row).flatten()) for row in x])
    torch.testing.assert_close(pool(Tokens(x)), want, atol=1e-12, rtol=1e-12)


def test_hierarchical_pooling_is_attention_pooling_of_windows() -> None:
    pool: Any = made(HierarchicalPoolConfig(window=3, stride=2, num_heads=2))
    for length in (1, 2, 3, 4, 7):
        x = numbers(1, length, 8)
        windows = [pool.windows(Tokens(x[:, start : start + 3])) for start in range(0, length, 2)]
        want = pool.whole(Tokens(torch.stack(windows, 1)))
        torch.testing.assert_close(pool(Tokens(x)), want, atol=1e-12, rtol=1e-12)


def test_a_summary_is_what_each_query_finds() -> None:
    summary = Summary(SummaryConfig(num_queries=3, num_heads=2), 8)
    randomise(summary, torch.Generator().manual_seed(3))
    summary, x = summary.double(), numbers(3, 5, 8)
    valid = torch.tensor([[True] * 5, [False] * 5, [False, True, True, False, True]])
    tokens = summary(Tokens(x, SequenceInfo(valid=valid)))
    assert tokens.info.valid.tolist() == [[True] * 3, [False] * 3, [True] * 3]
    for i in (0, 2):
        want = summary.out_proj(found(summary.look, x[i, valid[i]]))
        torch.testing.assert_close(tokens.x[i], want, atol=1e-12, rtol=1e-12)
    assert summary(Tokens(x)).info.valid is None
    none = summary(Tokens(x[:, :0]))
    assert none.x.shape == (3, 3, 8)
    assert not none.info.valid.any()


def test_heads_must_divide_the_width() -> None:
    text = TextTowerConfig(dim=10, vocab_size=5, depth=0, attention=None)
    for pool in (AttentionPoolConfig(), HierarchicalPoolConfig(num_heads=3)):
        with pytest.raises(ConfigError, match=r"heads\.label\.pool\.num_heads: dim 10 is not divisible by num_heads"):
            ModelConfig(towers={"text": text}, heads={"label": LabelHeadConfig(source="text", pool=pool)})


def test_windows_may_not_leave_gaps() -> None:
    with pytest.raises(ConfigError, match="stride: 3 leaves out tokens between windows of 2"):
        HierarchicalPoolConfig(window=2, stride=3)
