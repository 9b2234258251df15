"""Overlapping views and their gradient, against torch's own."""

from __future__ import annotations

import pytest
import torch

from patchword.config import SoftmaxAttentionConfig, SparseAttentionConfig
from patchword.nn.mechanisms import blocked
from patchword.nn.mechanisms.windows import Windows, windows
from patchword.sequence import Mask, SequenceInfo


@pytest.mark.parametrize(
    "shape", [Windows(1, 5, 5), Windows(4, 3, 3), Windows(5, 7, 3), Windows(3, 6, 2), Windows(2, 4, 9)]
)
@pytest.mark.parametrize("start", [0, 2])
def test_are_those_of_unfold(shape: Windows, start: int) -> None:
    x = torch.randn(
        2, start + (shape.num - 1) * shape.step + shape.size + 3, 4, dtype=torch.float64, requires_grad=True
    )
    ours = windows(x, start, shape)
    theirs = x[:, start:].unfold(1, shape.size, shape.step)[:, : shape.num].permute(1, 0, 3, 2)
    assert ours.shape == (shape.num, 2, shape.size, 4)
    assert torch.equal(ours, theirs)
    grad = torch.randn_like(ours)
    (own,), (other,) = torch.autograd.grad(ours, x, grad), torch.autograd.grad(theirs, x, grad)
    torch.testing.assert_close(own, other, rtol=1e-12, atol=1e-12)


def test_copy_nothing() -> None:
    x = torch.randn(2, 20, 4)
    assert windows(x, 3, Windows(4, 6, 2)).untyped_storage().data_ptr() == x.untyped_storage().data_ptr()


@pytest.mark.parametrize("kind", ["softmax", "sparse"])
@pytest.mark.parametrize(("length", "causal"), [(1500, True), (1536, True), (1411, False)])
def test_plain_windows_are_views(monkeypatch: pytest.MonkeyPatch, kind: str, length: int, causal: bool) -> None:
    """Most groups of a text without padding are taken as they stand, and results are those of gathered keys."""
    config = {
        "softmax": SoftmaxAttentionConfig(num_heads=4, num_kv_heads=2, causal=causal, window=100),
        "sparse": SparseAttentionConfig(num_heads=4, num_kv_heads=2, causal=causal),
    }[kind]
    mechanism = config.build(8).double()
    q, k, v = (torch.randn(2, h, length, 8, dtype=torch.float64, requires_grad=True) for h in (4, 2, 2))
    looked: list[int] = []

    def seen(x: torch.Tensor, start: int, shape: Windows) -> torch.Tensor:
        looked.append(shape.num)
        return windows(x, start, shape)

    monkeypatch.setattr(blocked, "windows", seen)
    plain = mechanism(q, k, v, Mask(SequenceInfo(), SequenceInfo(), length, length))
    assert max(looked) >= 7
    count = len(looked)
    padded = SequenceInfo(valid=torch.ones(2, length, dtype=torch.bool).index_fill(1, torch.tensor(length - 1), False))
    short = [x[:, :, : length - 1] for x in (q, k, v)]
    whole = mechanism(*short, Mask(SequenceInfo(), SequenceInfo(), length - 1, length - 1))
    gathered = mechanism(q, k, v, Mask(padded, padded, length, length))[:, :, : length - 1]
    assert len(looked) > count
    torch.testing.assert_close(whole, gathered, rtol=1e-10, atol=1e-10)
    grad = torch.randn_like(whole)
    for own, other in zip(
        torch.autograd.grad(whole, (q, k, v), grad), torch.autograd.grad(gathered, (q, k, v), grad), strict=True
    ):
        torch.testing.assert_close(own, other, rtol=1e-10, atol=1e-10)
    assert plain.isfinite().all()
