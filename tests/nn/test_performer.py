"""Performer: what it estimates and how well, its features, their stabilising, and drawing them again."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from kernel_matrix import FACTS, QKV, facts, gathered, inputs, itself, same_with_gradients
from largest import Largest
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from patchword.config import ConfigError, PerformerAttentionConfig, StackConfig
from patchword.nn import Stack
from patchword.nn.mechanisms import Mechanism
from patchword.nn.mechanisms.performer import PerformerAttention
from patchword.nn.mechanisms.random_features import draw
from patchword.sequence import Mask, SequenceInfo, Tokens
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
    """The mean of 600 draws is within 4.5 standard errors of the kernel for each of 12 pairs (chance 1e-4 in all)."""
    q, k = torch.randn(3, 8, dtype=NORMAL), torch.randn(4, 8, dtype=NORMAL)
    found, want = estimates(feature, 8, 600, q, k, orthogonal), (q @ k.T / 8**0.5).exp()
    error = (found.mean(0) - want).abs() / (found.std(0) / 600**0.5)
    assert error.max() < 4.5
    assert (found.std(0) / want).max() > 0.1  # one draw alone is far off


def test_orthogonal_and_paired_features_estimate_better() -> None:
    """Mean squared error over 200 draws: independent > orthogonal > orthogonal and in pairs, each by 10 % at least."""
    q, k = torch.randn(5, 8, dtype=NORMAL), torch.randn(5, 8, dtype=NORMAL)
    want = (q @ k.T / 8**0.5).exp()
    choices = (("softmax", False), ("softmax", True), ("hyperbolic", True))
    independent, orthogonal, paired = (
        (estimates(feature, 16, 200, q, k, how) - want).square().mean().item() for feature, how in choices
    )
    assert orthogonal < 0.9 * independent
    assert paired < 0.9 * orthogonal


def test_attention_approaches_softmax() -> None:
    """The mean of 200 draws is nearer than one draw (3 times at least), errors fall as features grow (1 / sqrt(F)).

    Products are unbiased, their ratio is not: its bias is of order 1 / F and grows with |q| and |k|, which are short.
    """
    q, k, v = (x.detach() for x in inputs(1, 9, 1, 1, 8))
    q, k, mask = q / 2, k / 2, itself(SequenceInfo(), 9)
    want = F.scaled_dot_product_attention(q, k, v)

    def outputs(num: int, draws: int) -> Tensor:
        sets = (made(8, num_heads=1, num_features=num, seed=seed) for seed in range(draws))
        return torch.cat([mechanism(q, k, v, mask) for mechanism in sets])

    few, many = outputs(32, 200), outputs(512, 30)
    error = [(x - want).square().mean().sqrt().item() for x in (few, many)]
    assert (few.mean(0) - want).square().mean().sqrt() < error[0] / 3
    assert error[1] < 0.6 * error[0]  # expected: 0.25
    assert error[1] < 0.15 * want.std()


# ------------------------------------------------------------------ the features


def test_orthogonal_directions() -> None:
    """Orthogonal in blocks of the head's width, also in the last, which is cut; lengths are those of normal vectors."""
    w = draw(20, 8, orthogonal=True, seed=3, number=0)
    assert w.shape == (20, 8)
    for start in (0, 8, 16):
        block = F.normalize(w[start : start + 8], dim=-1)
        torch.testing.assert_close(block @ block.T, torch.eye(len(block), dtype=NORMAL), atol=1e-12, rtol=0)
    far = F.normalize(w[:8], dim=-1) @ F.normalize(w[8:16], dim=-1).T
    assert far.abs().max() > 0.3
    lengths = draw(4000, 8, orthogonal=True, seed=0, number=0).square().sum(-1)
    assert abs(lengths.mean() - 8) < 5 * 4 / 4000**0.5  # chi squared with 8 degrees: variance 16
    assert abs(lengths.var() - 16) < 2
    plain = F.normalize(draw(8, 8, orthogonal=False, seed=3, number=0), dim=-1)
    assert (plain @ plain.T - torch.eye(8)).abs().max() > 0.3


def test_every_direction_is_as_likely() -> None:
    """Each coordinate of a first row has mean 0 over 2,000 draws (5 standard errors): QR's signs are evened out."""
    rows = torch.stack([draw(1, 4, orthogonal=True, seed=seed, number=0)[0] for seed in range(2000)])
    assert (rows.mean(0).abs() < 5 / 2000**0.5).all()


def test_a_draw_follows_from_seed_and_number() -> None:
    state = torch.get_rng_state()
    a = draw(5, 4, orthogonal=True, seed=1, number=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(a, draw(5, 4, orthogonal=True, seed=1, number=2))
    for seed, number in ((2, 1), (1, 3), (2, 2)):
        assert (draw(5, 4, orthogonal=True, seed=seed, number=number) - a).abs().max() > 0.1


def test_how_many_features() -> None:
    for head_dim, feature, want in ((16, "softmax", 44), (16, "hyperbolic", 44), (5, "hyperbolic", 8), (1, "relu", 1)):
        mechanism = made(head_dim, num_heads=1, feature=feature)
        assert mechanism.num_features == want
        _, k = mechanism.features(*(torch.randn(1, 1, 3, head_dim, dtype=NORMAL),) * 2, None, None)
        assert k.shape[-1] == want
    assert int(16 * math.log(16)) == 44


# ------------------------------------------------------------------ drawing again


def test_features_are_drawn_again_and_resume_exactly() -> None:
    whole, start = made(num_heads=2, redraw_every=3, seed=4), made(num_heads=2, redraw_every=3, seed=4)
    seen = [whole.projection.clone()]
    for _ in range(7):
        whole.after_step()
        seen.append(whole.projection.clone())
    changed = [step for step in range(1, 8) if not torch.equal(seen[step], seen[step - 1])]
    assert changed == [3, 6]
    for _ in range(5):
        start.after_step()
    loaded = made(num_heads=2, redraw_every=3, seed=99)
    loaded.load_state_dict(start.state_dict())
    assert torch.equal(loaded.projection, seen[5])
    loaded = made(num_heads=2, redraw_every=3, seed=4)
    loaded.load_state_dict(start.state_dict())
    for _ in range(2):
        loaded.after_step()
    assert torch.equal(loaded.projection, seen[7])
    for step, number in ((0, 0), (5, 1), (7, 2)):
        torch.testing.assert_close(seen[step], draw(10, 6, orthogonal=True, seed=4, number=number), atol=1e-6, rtol=0)


def test_without_redrawing_nothing_changes() -> None:
    mechanism = made(num_heads=2)
    before = {name: x.clone() for name, x in mechanism.state_dict().items()}
    mechanism.after_step()
    assert all(torch.equal(x, before[name]) for name, x in mechanism.state_dict().items())


def test_recomputed_activations_see_the_same_features() -> None:
    """Checkpointed blocks give equal gradients in the steps around a redraw; layers draw alike."""
    config = PerformerAttentionConfig(num_heads=2, num_features=8, redraw_every=1)
    stack = Stack(StackConfig(dim=8, depth=2, attention=config)).train()
    parts = [m for m in stack.modules() if isinstance(m, Mechanism)]
    x, gradients = torch.randn(2, 5, 8), []
    for _ in range(2):
        for recomputed in (False, True):
            stack.zero_grad()
            out = checkpoint(stack, Tokens(x), use_reentrant=False) if recomputed else stack(Tokens(x))
            assert isinstance(out, Tensor)
            out.square().sum().backward()
            gradients.append([p.grad.clone() for p in stack.parameters() if p.grad is not None])
        for part in parts:
            part.after_step()
    for a, b in ((0, 1), (2, 3)):
        for one, other in zip(gradients[a], gradients[b], strict=True):
            torch.testing.assert_close(one, other)
    assert any(not torch.allclose(a, b) for a, b in zip(gradients[0], gradients[2], strict=True))
    torch.testing.assert_close(parts[0].projection, parts[1].projection, atol=0, rtol=0)


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
