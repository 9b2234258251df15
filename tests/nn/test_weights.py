"""How much each token takes of each other: what a mechanism really does, whatever its kind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from patchword.config import (
    AttentionConfig,
    DifferentialAttentionConfig,
    RelativeBiasPositionConfig,
    SoftmaxAttentionConfig,
    StackConfig,
)
from patchword.nn import Stack
from patchword.nn.attention import Attention, View
from patchword.nn.mechanisms.differential import DifferentialAttention
from patchword.nn.stack import look_at
from patchword.sequence import Mask, SequenceInfo, Tokens
from patchword.testing import randomise
from patchword.testing.grid import SMALL

KINDS = pytest.mark.parametrize("config", SMALL, ids=lambda config: config.kind)
LENGTH = 21
pytestmark = pytest.mark.filterwarnings("ignore:linformer")


def info(padded: bool) -> SequenceInfo:
    valid = torch.ones(2, LENGTH, dtype=torch.bool)
    valid[0, :4] = valid[1, -3:] = False
    return SequenceInfo(valid=valid if padded else None)


def inputs(config: AttentionConfig, head_dim: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = (torch.randn(2, heads, LENGTH, head_dim, dtype=torch.float64) for heads in (4, 2, 2))
    return q, q if config.shares_qk else k, v


@KINDS
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_values_times_weights_are_what_is_gathered(config: AttentionConfig, causal: bool, padded: bool) -> None:
    if causal and "causal" not in config.can:
        pytest.skip("not causal")
    mechanism = config.replace(num_heads=4, num_kv_heads=2, causal=causal).build(6).double()
    randomise(mechanism, torch.Generator().manual_seed(0))
    q, k, v = inputs(config)
    mask = Mask(info(padded), info(padded), LENGTH, LENGTH)
    weights = mechanism.weights(q, k, mask)
    assert weights.shape == (2, 4, LENGTH, LENGTH)
    if isinstance(mechanism, DifferentialAttention):
        got = torch.cat([weights[:, :2] @ v[:, :1], weights[:, :2] @ v[:, 1:]], -1)
        want = mechanism._look(q, k, v, mask, None)
    else:
        got, want = weights @ v.repeat_interleave(2, 1), mechanism(q, k, v, mask)
    torch.testing.assert_close(got, want, atol=1e-9, rtol=1e-9)
    if causal:
        assert not weights.triu(1).any()
    if padded:
        assert not weights[0, ..., :4].any()
        assert not weights[1, ..., -3:].any()


def test_of_softmax_they_are_its_definition() -> None:
    mechanism = SoftmaxAttentionConfig(num_heads=4, num_kv_heads=2, causal=True, window=5).build(6)
    q, k, _ = inputs(mechanism.config)
    mask = Mask(info(True), info(True), LENGTH, LENGTH)
    see = mask.dense(True, 5, q.device)
    scores = (q @ k.repeat_interleave(2, 1).mT * 6**-0.5).masked_fill(~see, float("-inf"))
    torch.testing.assert_close(mechanism.weights(q, k, mask), scores.softmax(-1).nan_to_num(0.0))


def test_of_pairs_they_are_the_difference() -> None:
    mechanism: Any = DifferentialAttentionConfig(num_heads=4, num_kv_heads=2).build(6).double()
    q, k, _ = inputs(mechanism.config)
    maps = (q @ k.repeat_interleave(2, 1).mT * 6**-0.5).softmax(-1)
    amount = mechanism._lambda()[:, None, None]
    want = maps[:, :2] - amount * maps[:, 2:]
    got = mechanism.weights(q, k, Mask(SequenceInfo(), SequenceInfo(), LENGTH, LENGTH))
    torch.testing.assert_close(got, want.repeat(1, 2, 1, 1))


def test_nothing_is_dropped_and_training_goes_on() -> None:
    mechanism = SoftmaxAttentionConfig(num_heads=4, num_kv_heads=2, dropout=0.9).build(6).train()
    q, k, _ = inputs(mechanism.config)
    weights = mechanism.weights(q, k, Mask(SequenceInfo(), SequenceInfo(), LENGTH, LENGTH))
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    assert mechanism.training


@pytest.mark.parametrize("length", [0, 1])
def test_few_keys(length: int) -> None:
    mechanism = SoftmaxAttentionConfig(num_heads=4, num_kv_heads=2).build(6)
    mask = Mask(SequenceInfo(), SequenceInfo(), 3, length)
    weights = mechanism.weights(torch.randn(2, 4, 3, 6), torch.randn(2, 2, length, 6), mask)
    assert torch.equal(weights, torch.ones(2, 4, 3, length))


def test_a_layer_with_a_bias() -> None:
    config = StackConfig(
        dim=16, depth=1, position=RelativeBiasPositionConfig(), attention=SoftmaxAttentionConfig(causal=True)
    )
    stack = Stack(config).double()
    layer: Any = stack.blocks[0].self_attn.step  # pyright: ignore
    x = torch.randn(2, LENGTH, 16, dtype=torch.float64)
    view = stack.view(Tokens(x, info(True)))
    q, k = (p(x).view(2, LENGTH, 4, 4).transpose(1, 2) for p in (layer.q_proj, layer.k_proj))
    assert view.bias is not None
    scores = q @ k.mT / 2 + view.bias(q / 2)
    want = scores.masked_fill(~view.mask.dense(True, None, x.device), float("-inf")).softmax(-1).nan_to_num(0.0)
    torch.testing.assert_close(layer.weights(x, view), want)


def test_beams_look_at_one_memory() -> None:
    layer = Attention(SoftmaxAttentionConfig(num_heads=2), 8, 8).double()
    x, memory = torch.randn(6, 4, 8, dtype=torch.float64), torch.randn(2, 5, 8, dtype=torch.float64)
    own = View(Mask(SequenceInfo(), SequenceInfo(), 4, 4))
    shared, alone = look_at(Tokens(memory), own), look_at(Tokens(memory.repeat_interleave(3, 0)), own)
    assert shared is not None
    assert alone is not None
    torch.testing.assert_close(layer.weights(x, shared), layer.weights(x, alone))
