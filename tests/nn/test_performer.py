"""Performer: what it estimates and how well, its features, their stabilising, and drawing them again."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from kernel_matrix import FACTS, QKV, facts, gathered, inputs, itself, same_with_gradients
from largest import Largest
from torch import Tensor

from patchword.config import ConfigError, PerformerAttentionConfig
from patchword.nn.mechanisms.performer import PerformerAttention
from patchword.sequence import Mask, SequenceInfo
from patchword.testing import Subject, cases, check_mechanism, laws_for

KINDS = ("softmax", "hyperbolic", "relu", "exp")
NORMAL = torch.float64


def made(head_dim: int = 6, **settings: Any) -> PerformerAttention:
    """A mechanism in float64; its directions keep the precision that they were drawn in."""
    return PerformerAttention(PerformerAttentionConfig(**settings), head_dim).double()


def phi(mechanism: PerformerAttention, x: Tensor) -> Tensor:
    """The features as their definition says them, without any shift."""
    x = x * mechanism.scale**0.5
    logs, half = x @ mechanism.projection.T, x.square().sum(-1, keepdim=True) / 2
    return {
        "softmax": (logs - half).exp,
        "hyperbolic": lambda: torch.cat([(logs - half).exp(), (-logs - half).exp()], -1),
        "relu": lambda: F.relu(logs) + (mechanism.settings.eps or 1e-3),
        "exp": logs.exp,
    }[mechanism.settings.feature]()


def matrix(mechanism: PerformerAttention, x: QKV, mask: Mask) -> Tensor:
    q, k, v = x
    return gathered(phi(mechanism, q), phi(mechanism, k), v, mask.dense(mechanism.config.causal, None, q.device))


# ------------------------------------------------------------------ the arithmetic


@pytest.mark.parametrize("feature", KINDS)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("name", FACTS)
def test_matrix_form(feature: str, causal: bool, name: str) -> None:
    """For any facts, in chunks, with groups; gradients, too."""
    for groups, chunk in ((4, 3), (2, 64)):
        mechanism = made(num_heads=4, num_kv_heads=groups, causal=causal, feature=feature, chunk=chunk, scale=0.3)
        x, mask = inputs(2, 11, 4, groups, 6), itself(facts(name, 2, 11), 11)
        same_with_gradients(mechanism(*x, mask), matrix(mechanism, x, mask), x)


@pytest.mark.parametrize("feature", KINDS)
def test_steps(feature: str) -> None:
    """Keys that grow from step to step raise the peak each time: sums follow exactly."""
    mechanism = made(num_heads=4, num_kv_heads=2, causal=True, feature=feature, chunk=2)
    q, k, v = inputs(2, 7, 4, 2, 6)
    k = k * torch.linspace(0.1, 4, 7)[:, None]
    want = mechanism(q, k, v, itself(SequenceInfo(), 7))
    for grad in (True, False):
        for lengths in ((1,) * 7, (3, 1, 0, 3)):
            cache, out, start = mechanism.new_cache(2, 7, v, static=False), [], 0
            for n in lengths:
                end, mask = start + n, Mask(SequenceInfo(), SequenceInfo(), n, start + n, start)
                with torch.set_grad_enabled(grad):
                    now = (x[:, :, start:end] for x in (q, k, v))
                    out.append(mechanism(*now, mask, None, cache))  # pyright: ignore[reportCallIssue]
                start = end
            torch.testing.assert_close(torch.cat(out, 2), want, atol=1e-10, rtol=1e-10)
            if grad:
                same_with_gradients(torch.cat(out, 2), want, (q, k, v))


@pytest.mark.parametrize("feature", ["softmax", "hyperbolic", "exp"])
@pytest.mark.parametrize("size", [1e-3, 30.0, 1e4])
def test_exponents_of_any_size(feature: str, size: float) -> None:
    """In float32, keys whose plain features would all be 0 or infinite still give means of values, and gradients."""
    mechanism = made(num_heads=2, feature=feature).float()
    q, k, v = inputs(1, 5, 2, 2, 6, torch.float32)
    out = mechanism(q * size, k * size, v, itself(SequenceInfo(), 5))
    out.sum().backward()
    assert all(x.grad is not None and x.grad.isfinite().all() for x in (q, k, v))
    low, high = v.amin(2, keepdim=True), v.amax(2, keepdim=True)
    assert ((out >= low - 1e-5) & (out <= high + 1e-5)).all()
    assert v.grad is not None
    torch.testing.assert_close(v.grad.sum(), torch.tensor(5.0 * 2 * 6))  # weights of each query sum to one


@pytest.mark.parametrize("feature", ["softmax", "exp"])
def test_padding_does_not_push_real_keys_out_of_range(feature: str) -> None:
    """Padding along a direction would have by far the largest exponents."""
    mechanism = made(num_heads=1, feature=feature).float()
    q, k, v = inputs(1, 4, 1, 1, 6, torch.float32)
    padded = torch.cat([k, 1e3 * mechanism.projection[:3][None, None]], 2)
    valid = torch.tensor([[True] * 4 + [False] * 3])
    got = mechanism(q, padded, F.pad(v, (0, 0, 0, 3)), Mask(SequenceInfo(), SequenceInfo(valid=valid), 1, 7))
    same_with_gradients(got, mechanism(q, k, v, itself(SequenceInfo(), 4)), (q, k, v), 1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_no_tensor_grows_faster_than_length(causal: bool) -> None:
    """Forward and backward: never n x F x E numbers, nor n x n."""
    sizes = []
    for length in (256, 1024):
        mechanism, largest = made(16, num_heads=1, num_features=24, causal=causal, chunk=32), Largest()
        x = inputs(1, length, 1, 1, 16)
        with largest:
            mechanism(*x, itself(SequenceInfo(), length)).sum().backward()
        sizes.append(largest.numel)
    assert sizes[1] <= 4 * sizes[0]
    assert sizes[1] < 1024 * 24 * 16 / 4


# ------------------------------------------------------------------ the estimate


def estimates(feature: str, num: int, draws: int, q: Tensor, k: Tensor, orthogonal: bool = True) -> Tensor:
    """exp(q . k / sqrt(E)) as `draws` sets of features estimate it; [draws, T, S]."""
    out = []
    for seed in range(draws):
        mechanism = made(q.shape[-1], num_heads=1, feature=feature, num_features=num, seed=seed, orthogonal=orthogonal)
        out.append(phi(mechanism, q) @ phi(mechanism, k).T / num)
    return torch.stack(out)


@pytest.mark.parametrize("feature", ["softmax", "hyperbolic"])
@pytest.mark.parametrize("orthogonal", [False, True])
def test_products_of_features_are_unbiased(feature: str, orthogonal: bool) -> None:
    """The mean of 600 draws is within 5 standard errors of the kernel for each of 12 pairs.

    Estimates have long tails, the longer q and k the longer, so these are short: in 160 sets of draws none was off by
    more than 4.
    """
    q, k = 0.3 * torch.randn(3, 8, dtype=NORMAL), 0.3 * torch.randn(4, 8, dtype=NORMAL)
    found, want = estimates(feature, 8, 600, q, k, orthogonal), (q @ k.T / 8**0.5).exp()
    error = (found.mean(0) - want).abs() / (found.std(0) / 600**0.5)
    assert error.max() < 5
    assert (found.std(0) / want).max() > 0.03  # one draw alone is far off


def test_orthogonal_and_paired_features_estimate_better() -> None:
    """Mean squared error of 800 draws: orthogonal below 0.95 of independent (in ten sets of draws 0.78 to 0.89), in
    pairs below 0.5 of orthogonal (0.21 to 0.29)."""
    q, k = 0.3 * torch.randn(5, 8, dtype=NORMAL), 0.3 * torch.randn(5, 8, dtype=NORMAL)
    want = (q @ k.T / 8**0.5).exp()
    choices = (("softmax", False), ("softmax", True), ("hyperbolic", True))
    independent, orthogonal, paired = (
        (estimates(feature, 16, 800, q, k, how) - want).square().mean().item() for feature, how in choices
    )
    assert orthogonal < 0.95 * independent
    assert paired < 0.5 * orthogonal


def test_attention_approaches_softmax() -> None:
    """The mean of 200 draws is nearer than one draw (3 times at least), errors fall as features grow (1 / sqrt(F)).

    Products are unbiased, their ratio is not: its bias is of order 1 / F and grows with |q| and |k|, which are short.
    """
    q, k, v = (x.detach() for x in inputs(1, 9, 1, 1, 8))
    q, k, mask = 0.4 * q, 0.4 * k, itself(SequenceInfo(), 9)
    want = F.scaled_dot_product_attention(q, k, v)

    def outputs(num: int, draws: int) -> Tensor:
        sets = (made(8, num_heads=1, num_features=num, seed=seed) for seed in range(draws))
        return torch.cat([mechanism(q, k, v, mask) for mechanism in sets])

    few, many = outputs(32, 200), outputs(512, 30)
    error = [(x - want).square().mean().sqrt().item() for x in (few, many)]
    assert (few.mean(0) - want).square().mean().sqrt() < error[0] / 3
    assert error[1] < 0.6 * error[0]  # expected: 0.25
    assert error[1] < 0.15 * want.std()


# ------------------------------------------------------------------ settings and the contract


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"feature": "hyperbolic", "num_features": 7}, "hyperbolic features go in pairs: 7 is odd"),
        ({"eps": 1e-4}, "is for relu features: softmax features are never zero"),
        ({"dropout": 0.1}, "performer attention cannot do: dropout"),
    ],
)
def test_what_has_no_meaning_is_refused(settings: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PerformerAttentionConfig(**settings)


def test_eps_is_added_to_relu_features() -> None:
    a, b = (made(num_heads=2, feature="relu", eps=eps) for eps in (None, 0.5))
    q, k, v = inputs(1, 4, 2, 2, 6)
    mask = itself(SequenceInfo(), 4)
    torch.testing.assert_close(b(q, k, v, mask), matrix(b, (q, k, v), mask))
    assert (a(q, k, v, mask) - b(q, k, v, mask)).abs().max() > 1e-3


def test_laws_where_chunks_are_short() -> None:
    """Some shapes of the contract with chunks of 3, so that what is short there has several."""
    for case in [c for c in cases(PerformerAttentionConfig(chunk=3)) if c.causal][3::11]:
        for law in laws_for(case):
            law.holds(Subject(case))


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"chunk": 2, "feature": "hyperbolic"}, {"feature": "relu"}], ids=str)
def test_contract(settings: Any) -> None:
    counts = check_mechanism(PerformerAttentionConfig(**settings))
    assert counts["refused"] == 2  # window, dropout
    assert counts["cached_equals_full"] >= 10
