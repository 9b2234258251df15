"""Differential attention against the paper's formula, one pair and one query at a time, in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from patchword.config import ConfigError, DifferentialAttentionConfig
from patchword.nn.mechanisms.differential import DifferentialAttention
from patchword.sequence import Mask, SequenceInfo
from patchword.testing import check_mechanism, randomise

POLICIES = ("all", "causal", "window", "segment", "bias", "cross", "one query")


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def made(**settings: Any) -> DifferentialAttention:
    mechanism = DifferentialAttention(DifferentialAttentionConfig(**settings), 6)
    randomise(mechanism, torch.Generator().manual_seed(4))
    return mechanism.double().eval()


def plain(
    mechanism: DifferentialAttention, q: Tensor, k: Tensor, v: Tensor, see: Tensor, bias: Tensor | None = None
) -> Tensor:
    """(1 - first) RMSNorm((softmax(q1 k1) - lambda softmax(q2 k2)) [v1 v2]); pairs are heads i and i + H/2."""
    batch, heads, queries, width = q.shape
    k, v = (x.repeat_interleave(heads // x.shape[1], 1) for x in (k, v))
    pairs = heads // 2
    out = []
    for i in range(pairs):
        maps = []
        for head in (i, i + pairs):
            scores = q[:, head] @ k[:, head].mT * mechanism.scale
            if bias is not None:
                scores = scores + bias[:, head]
            maps.append(scores.masked_fill(~see[:, 0], -math.inf).softmax(-1).nan_to_num(0.0))
        a, b = mechanism.lambda_q[:, i], mechanism.lambda_k[:, i]
        amount = torch.exp(a[0] @ b[0]) - torch.exp(a[1] @ b[1]) + mechanism.first
        values = torch.cat([v[:, i], v[:, i + pairs]], -1)
        got = (maps[0] - amount * maps[1]) @ values
        normed = got / (got.square().mean(-1, keepdim=True) + 1e-5).sqrt() * mechanism.gain
        out.append(normed * (1 - mechanism.first))
    joined = torch.cat(out, -1)  # what the output map reads: pair after pair
    return joined.view(batch, queries, heads, width).transpose(1, 2)


def test_contract() -> None:
    counts = check_mechanism(DifferentialAttentionConfig)
    assert counts["refused"] == 0
    assert counts["cached_equals_full"] >= 10
    assert counts["groups_are_repeated_heads"] >= 10


@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (2, 2), (12, 4)])
@pytest.mark.parametrize("policy", POLICIES)
def test_against_the_formula(heads: tuple[int, int], policy: str) -> None:
    num, groups = heads
    mechanism = made(
        num_heads=num, num_kv_heads=groups, causal=policy == "causal", window=3 if policy == "window" else None
    )
    keys = 7
    queries = {"cross": 5, "one query": 1}.get(policy, keys)
    inputs = [numbers(2, n, length, 6) for n, length in ((num, queries), (groups, keys), (groups, keys))]
    valid = torch.tensor([[True] * 7, [False, True, True, False, True, True, False]])
    facts = SequenceInfo(valid=valid)
    if policy == "segment":
        facts = facts._replace(segment=torch.tensor([[0, 0, 0, 1, 1, 2, 2]] * 2))
    mask = Mask(SequenceInfo(), facts, 1, keys) if queries != keys else Mask(facts, facts, keys, keys)
    table = numbers(1, num, keys, keys)
    added = table if policy == "bias" else None
    see = mask.dense(mechanism.config.causal, mechanism.config.window, table.device).expand(-1, -1, queries, -1)
    upstream = numbers(2, num, queries, 6)
    results = []
    for out in (
        mechanism(*(x.requires_grad_() for x in inputs), mask, None if added is None else lambda q: table),
        plain(mechanism, inputs[0], inputs[1], inputs[2], see.expand(2, 1, queries, keys), added),
    ):
        learned = [*inputs, *mechanism.parameters()]
        results.append((out, *torch.autograd.grad((out * upstream).sum(), learned)))
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, atol=1e-10, rtol=1e-10)


def test_against_the_published_layout() -> None:
    """The paper's code keeps a pair's heads beside each other, and one lambda a layer; only the order differs."""
    pairs, width, length = 3, 6, 5
    mechanism = made(num_heads=2 * pairs, causal=True)
    with torch.no_grad():
        mechanism.lambda_q.copy_(mechanism.lambda_q[:, :1].expand(-1, pairs, -1))
        mechanism.lambda_k.copy_(mechanism.lambda_k[:, :1].expand(-1, pairs, -1))
    q, k, v = (numbers(2, length, 2 * pairs * width) for _ in range(3))
    # from here on as in multihead_diffattn.py of the authors
    theirs_q, theirs_k = (x.view(2, length, 2 * pairs, width).transpose(1, 2) for x in (q, k))
    theirs_v = v.view(2, length, pairs, 2 * width).transpose(1, 2)
    weights = theirs_q * width**-0.5 @ theirs_k.transpose(-1, -2)
    weights = (weights + torch.triu(torch.full((length, length), -math.inf), 1)).softmax(-1)
    a, b = mechanism.lambda_q[:, 0], mechanism.lambda_k[:, 0]
    amount = torch.exp((a[0] * b[0]).sum()) - torch.exp((a[1] * b[1]).sum()) + mechanism.first
    weights = weights.view(2, pairs, 2, length, length)
    attended = (weights[:, :, 0] - amount * weights[:, :, 1]) @ theirs_v
    attended = F.rms_norm(attended, (2 * width,), mechanism.gain, 1e-5) * (1 - mechanism.first)
    want = attended.transpose(1, 2).reshape(2, length, pairs * 2 * width)
    order = [*range(0, 2 * pairs, 2), *range(1, 2 * pairs, 2)]  # ours: first heads of all pairs, then second heads
    mine = [x.view(2, length, 2 * pairs, width).transpose(1, 2)[:, order] for x in (q, k, v)]
    got = mechanism(*mine, Mask(SequenceInfo(), SequenceInfo(), length, length))
    torch.testing.assert_close(got.transpose(1, 2).flatten(2), want, atol=1e-10, rtol=1e-10)


def test_what_both_maps_see_is_taken_off() -> None:
    """Equal maps and lambda = 1 cancel; the rest does not."""
    mechanism = made(num_heads=2)
    with torch.no_grad():
        for weight in (mechanism.lambda_q, mechanism.lambda_k):
            weight.zero_()
    q, k, v = numbers(1, 1, 4, 6).expand(1, 2, 4, 6), numbers(1, 1, 5, 6).expand(1, 2, 5, 6), numbers(1, 2, 5, 6)
    mask = Mask(SequenceInfo(), SequenceInfo(), 4, 5)
    assert mechanism._lambda().tolist() == pytest.approx([0.2])
    with torch.no_grad():
        mechanism.lambda_q[0, 0, 0], mechanism.lambda_k[0, 0, 0] = 1.0, math.log(1.8)
    torch.testing.assert_close(mechanism._lambda(), torch.ones(1, dtype=torch.float64))
    assert mechanism(q, k, v, mask).abs().max() < 1e-9
    assert mechanism(q + numbers(1, 2, 4, 6), k, v, mask).abs().max() > 1e-2


def test_it_starts_near_its_first_lambda() -> None:
    for first in (0.2, 0.8):
        fresh = DifferentialAttention(DifferentialAttentionConfig(num_heads=8, first_lambda=first), 16)
        assert (fresh._lambda() - first).abs().max() < 0.3
        assert (fresh._lambda() - first).abs().min() > 0


@pytest.mark.parametrize("settings", [{"num_heads": 3}, {"num_heads": 4, "num_kv_heads": 1}])
def test_heads_that_cannot_be_paired_are_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"differential attention pairs heads: [31] is odd"):
        DifferentialAttentionConfig(**settings)  # pyright: ignore[reportArgumentType]


def test_no_keys_give_zero_and_every_weight_a_gradient() -> None:
    mechanism = made(num_heads=4)
    q, none = numbers(2, 4, 3, 6), numbers(2, 4, 0, 6)
    out = mechanism(q, none, none, Mask(SequenceInfo(), SequenceInfo(), 3, 0))
    assert not out.any()
    out.sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in mechanism.parameters())


@pytest.mark.parametrize("queries", [1, 4])
def test_dropout_only_in_training(queries: int) -> None:
    mechanism = made(num_heads=4, dropout=0.5)
    q, k, v = numbers(1, 4, queries, 6), numbers(1, 4, 8, 6), numbers(1, 4, 8, 6)
    mask = Mask(SequenceInfo(), SequenceInfo(), queries, 8)
    quiet = mechanism(q, k, v, mask)
    torch.testing.assert_close(mechanism(q, k, v, mask), quiet)
    mechanism.train()
    assert (mechanism(q, k, v, mask) - quiet).abs().max() > 0.01
