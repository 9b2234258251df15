"""Chunked cross-entropy is cross-entropy, gradients included, whatever the chunk."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from patchword.tasks.losses import chunked_cross_entropy, focal_cross_entropy


def _random(n: int, vocab: int, dim: int = 8) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    x, weight = torch.randn(n, dim, dtype=torch.float64), torch.randn(vocab, dim, dtype=torch.float64)
    bias, target = torch.randn(vocab, dtype=torch.float64), torch.randint(0, vocab, (n,))
    return x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_(), target


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("chunk", [1, 7, 37, 1000])
@pytest.mark.parametrize("with_bias", [True, False])
def test_equals_torch(smoothing: float, chunk: int, with_bias: bool) -> None:
    x, weight, bias, target = _random(37, 19)
    used = bias if with_bias else None
    ours = chunked_cross_entropy(x, weight, used, target, smoothing, chunk)
    theirs = F.cross_entropy(F.linear(x, weight, used), target, reduction="sum", label_smoothing=smoothing)
    torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=1e-12)
    inputs = [x, weight, *([bias] if with_bias else [])]
    factor = torch.randn((), dtype=torch.float64)
    for a, b in zip(
        torch.autograd.grad(ours * factor, inputs), torch.autograd.grad(theirs * factor, inputs), strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)


def test_only_what_is_asked_has_a_gradient() -> None:
    x, weight, bias, target = _random(5, 9)
    weight.requires_grad_(False)
    chunked_cross_entropy(x, weight, bias, target).backward()
    assert x.grad is not None
    assert bias.grad is not None
    assert weight.grad is None


def test_no_tokens_give_zero_and_zero_gradients() -> None:
    x, weight, bias, _ = _random(0, 9)
    total = chunked_cross_entropy(x, weight, bias, torch.zeros(0, dtype=torch.long))
    total.backward()
    assert total.item() == 0.0
    assert weight.grad is not None
    assert not weight.grad.any()


def test_huge_scores_stay_finite() -> None:
    x, weight, bias, target = _random(6, 9)
    total = chunked_cross_entropy(x * 1e4, weight, bias, target)
    total.backward()
    assert total.isfinite()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_all_scores_never_exist_at_once() -> None:
    """The largest tensor made on the way has chunk x V numbers, not n x V."""
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest = max(largest, out.numel())
            return out

    n, vocab, dim, chunk = 512, 300, 4, 16
    x = torch.randn(n, dim, requires_grad=True)
    weight = torch.randn(vocab, dim, requires_grad=True)
    with Watch():
        chunked_cross_entropy(x, weight, None, torch.randint(0, vocab, (n,)), 0.1, chunk).backward()
    assert largest <= max(chunk * vocab, n * dim, vocab * dim)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_focal_is_cross_entropy_by_how_hard_each_sample_is(gamma: float, smoothing: float) -> None:
    scores = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    target, weight = torch.randint(0, 5, (7,)), torch.rand(5, dtype=torch.float64)
    got = focal_cross_entropy(scores, target, gamma, weight, smoothing)
    want = torch.zeros((), dtype=torch.float64)
    for row, label in zip(scores, target, strict=True):
        plain = F.cross_entropy(row, label, label_smoothing=smoothing)
        weighed = F.cross_entropy(row[None], label[None], weight, reduction="sum", label_smoothing=smoothing)
        want = want + (1 - torch.exp(-plain)) ** gamma * weighed
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(*(torch.autograd.grad(loss, scores, retain_graph=True)[0] for loss in (got, want)))


def test_focal_of_a_sample_told_without_doubt_has_a_gradient() -> None:
    scores = torch.tensor([[60.0, -60.0]], requires_grad=True)
    focal_cross_entropy(scores, torch.tensor([0]), 0.5).backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()
