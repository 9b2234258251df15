"""Linformer: pooled keys against plain matrices, whose map it is, lengths, and what it says of its cost."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from patchword.config import LinformerAttentionConfig, SoftmaxAttentionConfig, StackConfig, UserError
from patchword.nn import Stack
from patchword.nn.mechanisms.linformer import LinformerAttention, LinformerCostWarning
from patchword.sequence import Mask, SequenceInfo, Tokens
from patchword.testing import Case, Subject, check_mechanism, randomise

SHARINGS = ("none", "headwise", "kv", "layerwise")


def made(**settings: Any) -> LinformerAttention:
    """A mechanism of width 6 with random float64 maps."""
    mechanism = LinformerAttention(LinformerAttentionConfig(**settings), 6)
    randomise(mechanism, torch.Generator().manual_seed(1))
    return mechanism.double().eval()


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def seen(keys: int, valid: Tensor | None = None) -> Mask:
    return Mask(SequenceInfo(), SequenceInfo(valid=valid), 1, keys)


@pytest.mark.parametrize("sharing", ["none", "layerwise"])
@pytest.mark.filterwarnings("ignore::patchword.nn.mechanisms.linformer.LinformerCostWarning")
def test_contract(sharing: Any) -> None:
    counts = check_mechanism(LinformerAttentionConfig(max_len=12, pooled_len=3, sharing=sharing))
    assert counts["refused"] == 3  # causal, window, cache
    assert counts["padding_changes_nothing"] >= 10


@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("groups", [4, 2, 1])
def test_against_plain_matrices(sharing: Any, groups: int) -> None:
    mechanism = made(num_heads=4, num_kv_heads=groups, max_len=11, pooled_len=3, sharing=sharing, scale=0.7)
    q, k, v = numbers(2, 4, 5, 6), numbers(2, groups, 9, 6), numbers(2, groups, 9, 6)
    valid = torch.tensor([[True] * 9, [False, True, True, False, True, True, True, False, False]])
    got = mechanism(q, k, v, seen(9, valid))
    for row in range(2):
        for head in range(4):
            keys, values = (x[row, head * groups // 4][valid[row]] for x in (k, v))
            maps = (mechanism.k_map, mechanism.v_map)
            one, two = (m[head] if m.ndim == 3 else m for m in maps)
            pooled_k, pooled_v = one[: len(keys)].T @ keys, two[: len(values)].T @ values
            want = (q[row, head] @ pooled_k.T * 0.7).softmax(-1) @ pooled_v
            torch.testing.assert_close(got[row, head], want, atol=1e-12, rtol=1e-12)


def test_whose_map_it_is() -> None:
    counts = {}
    for sharing in SHARINGS:
        own = LinformerAttentionConfig(num_heads=4, max_len=8, pooled_len=3, sharing=sharing)  # pyright: ignore[reportArgumentType]
        stack = Stack(StackConfig(dim=16, depth=2, attention=own))
        counts[sharing] = sum(p.numel() for name, p in stack.named_parameters() if "_map" in name)
    assert counts == {"none": 2 * 2 * 4 * 24, "headwise": 2 * 2 * 24, "kv": 2 * 24, "layerwise": 24}


def test_a_map_of_all_layers_is_one_parameter() -> None:
    own = LinformerAttentionConfig(num_heads=4, max_len=8, pooled_len=3, sharing="layerwise")
    stack = Stack(StackConfig(dim=16, depth=3, attention=own))
    maps = [block.self_attn.step.mechanism.k_map for block in stack.blocks]  # pyright: ignore
    assert all(m is maps[0] for m in maps)
    assert [name for name, _ in stack.named_parameters() if "_map" in name] == [
        "blocks.0.self_attn.step.mechanism.k_map"
    ]


@pytest.mark.filterwarnings("ignore::patchword.nn.mechanisms.linformer.LinformerCostWarning")
@pytest.mark.parametrize("groups", [None, 2])
def test_the_identity_is_dense_attention(groups: int | None) -> None:
    own = LinformerAttentionConfig(num_heads=4, num_kv_heads=groups, max_len=7, pooled_len=7)
    ours = Subject(Case(StackConfig(dim=16, attention=own)))
    dense = Subject(Case(StackConfig(dim=16, attention=SoftmaxAttentionConfig(num_heads=4, num_kv_heads=groups))))
    for name, parameter in ours.stack.named_parameters():
        if "_map" in name:
            torch.nn.init.eye_(parameter)
    ours.stack.load_state_dict(dense.stack.state_dict(), strict=False)
    x = ours.tokens(2, 7)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    one, two = ours.run(a), dense.run(b)
    torch.testing.assert_close(one, two, atol=1e-10, rtol=1e-10)
    for out in (one, two):
        out.square().sum().backward()
    torch.testing.assert_close(a.grad, b.grad, atol=1e-10, rtol=1e-10)


def test_too_long_names_both_numbers() -> None:
    mechanism = made(num_heads=2, max_len=5, pooled_len=2)
    q, x = numbers(1, 2, 3, 6), numbers(1, 2, 9, 6)
    with pytest.raises(UserError, match="was made for 5 keys, 9 are there"):
        mechanism(q, x, x, seen(9))
    valid = torch.tensor([[False, True, True, False, True, True, True, False, True]])
    with pytest.raises(UserError, match="was made for 5 keys, 6 are there"):
        mechanism(q, x, x, seen(9, valid))
    valid[0, 1] = False  # five real keys among nine places fit
    torch.testing.assert_close(
        mechanism(q, x, x, seen(9, valid)), mechanism(q, x[:, :, valid[0]], x[:, :, valid[0]], seen(5))
    )


def test_nothing_to_see_gives_zero() -> None:
    mechanism = made(num_heads=2, max_len=5, pooled_len=2)
    q, x = numbers(2, 2, 3, 6), numbers(2, 2, 4, 6)
    out = mechanism(q, x, x, seen(4, torch.tensor([[False] * 4, [True] * 4])))
    assert not out[0].any()
    assert out[1].all()
    assert not mechanism(q, x[:, :, :0], x[:, :, :0], seen(0)).any()


def test_it_speaks_of_the_cost_once() -> None:
    own = LinformerAttentionConfig(num_heads=2, max_len=9, pooled_len=4)
    stack = Stack(StackConfig(dim=8, depth=3, attention=own))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for length in (0, 5, 4, 3):
            stack(Tokens(torch.randn(1, length, 8)))
    assert [w.category for w in said] == [LinformerCostWarning]
    assert "pools 4 keys to 4 rows" in str(said[0].message)


def test_dropout_only_in_training() -> None:
    mechanism = made(num_heads=2, max_len=9, pooled_len=4, dropout=0.5)
    q, x = numbers(1, 2, 5, 6), numbers(1, 2, 8, 6)
    quiet = mechanism(q, x, x, seen(8))
    torch.testing.assert_close(mechanism(q, x, x, seen(8)), quiet)
    mechanism.train()
    draws = torch.stack([mechanism(q, x, x, seen(8)) for _ in range(4000)])
    assert (draws[0] - quiet).abs().max() > 0.1
    torch.testing.assert_close(draws.mean(0), quiet, atol=0.15, rtol=0.1)
