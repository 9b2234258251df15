"""The k best keys: against dense attention with a mask made by sorting, in chunks, and against x-transformers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from largest import Largest
from torch import Tensor

from patchword.config import SoftmaxAttentionConfig, StackConfig, TopKAttentionConfig
from patchword.nn.mechanisms import topk
from patchword.nn.mechanisms.topk import TopKAttention
from patchword.sequence import Mask, SequenceInfo
from patchword.testing import Case, Subject, check_mechanism


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def made(**settings: Any) -> TopKAttention:
    return TopKAttention(TopKAttentionConfig(num_heads=4, **settings), 6).eval()


def plain(q: Tensor, k: Tensor, v: Tensor, see: Tensor, keep: int, bias: Tensor | None = None) -> Tensor:
    """One query at a time: its scores sorted, those below the k-th left out."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    scores = q @ k.mT * q.shape[-1] ** -0.5
    scores = scores if bias is None else scores + bias
    see = see.expand(scores.shape)
    out = torch.zeros_like(q)
    for b, h, t in torch.cartesian_prod(*(torch.arange(n) for n in q.shape[:3])).tolist():
        keys = see[b, h, t].nonzero()[:, 0].tolist()
        best = sorted(keys, key=lambda s: -float(scores[b, h, t, s].detach()))[:keep]
        if best:
            out[b, h, t] = scores[b, h, t, best].softmax(-1) @ v[b, h, best]
    return out


def test_contract() -> None:
    counts = check_mechanism(TopKAttentionConfig(k=3))
    assert counts["refused"] == 0
    assert counts["cached_equals_full"] >= 10


@pytest.mark.parametrize("groups", [4, 2, 1])
@pytest.mark.parametrize("policy", ["all", "causal", "window", "segment", "bias"])
@pytest.mark.parametrize("room", [topk._ROOM, 100])
def test_against_sorting(groups: int, policy: str, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chunks that long sequences are cut into change nothing; gradients either."""
    monkeypatch.setattr(topk, "_ROOM", room)
    mechanism = made(num_kv_heads=groups, k=3, causal=policy == "causal", window=4 if policy == "window" else None)
    inputs = [numbers(2, heads, 9, 6).requires_grad_() for heads in (4, groups, groups)]
    valid = torch.ones(2, 9, dtype=torch.bool)
    if policy != "causal":  # whose plain triangle is a path of its own
        valid[0, :2] = valid[1, 5] = False
    facts = SequenceInfo(valid=None if policy == "causal" else valid)
    if policy == "segment":
        facts = facts._replace(segment=torch.tensor([[0, 0, 0, 1, 1, 1, 1, 2, 2]] * 2))
    mask = Mask(facts, facts, 9, 9)
    table = numbers(1, 4, 9, 9)
    bias: Callable[[Tensor], Tensor] | None = (lambda q: table + q.sum(-1, True)) if policy == "bias" else None
    added = None if bias is None else bias(inputs[0] * 6**-0.5)
    see = mask.dense(mechanism.config.causal, mechanism.config.window, table.device)
    upstream = numbers(2, 4, 9, 6)
    results = []
    for out in (mechanism(*inputs, mask, bias), plain(inputs[0], inputs[1], inputs[2], see, 3, added)):
        results.append((out, *torch.autograd.grad((out * upstream).sum(), inputs)))
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("keep", [9, 12])
def test_all_keys_are_softmax(causal: bool, keep: int) -> None:
    ours = Subject(Case(StackConfig(dim=16, attention=TopKAttentionConfig(k=keep, causal=causal)), seed=5))
    dense = Subject(Case(StackConfig(dim=16, attention=SoftmaxAttentionConfig(causal=causal)), seed=5))
    x = ours.tokens(2, 9)
    ours.close(ours.run(x), dense.run(x), "all keys kept")


def test_ties_are_all_kept() -> None:
    mechanism = made(k=2)
    k, v = numbers(1, 4, 1, 6).expand(1, 4, 5, 6), numbers(1, 4, 5, 6)
    q = numbers(1, 4, 3, 6)
    mask = Mask(SequenceInfo(), SequenceInfo(), 3, 5)
    torch.testing.assert_close(mechanism(q, k, v, mask), v.mean(2, keepdim=True).expand_as(q))


def test_a_key_that_is_not_kept_gets_no_gradient() -> None:
    mechanism = made(k=2)
    q, k, v = (numbers(1, 4, 6, 6).requires_grad_() for _ in range(3))
    mechanism(q[:, :, :1], k, v, Mask(SequenceInfo(), SequenceInfo(), 1, 6)).sum().backward()
    assert v.grad is not None
    assert v.grad.any(-1).sum(-1).tolist() == [[2] * 4]


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_scores_of_all_queries_are_never_there_at_once(
    train: bool, causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No tensor of any operation, backward included, is larger than the chunk's scores or the inputs."""
    monkeypatch.setattr(topk, "_ROOM", 4 * 8 * 200)
    q, k, v = (torch.randn(1, 4, 200, 6, requires_grad=train) for _ in range(3))
    mechanism = made(k=5, causal=causal)
    with Largest() as largest:
        out = mechanism(q, k, v, Mask(SequenceInfo(), SequenceInfo(), 200, 200))
        if train:
            out.sum().backward()
    assert largest.numel <= 4 * 8 * 200
    assert largest.numel >= 4 * 200 * 6


@pytest.mark.parametrize("room", [topk._ROOM, 100])
def test_dropout_is_the_same_when_a_chunk_is_computed_again(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gradients of values are the very weights that the forward pass used."""
    monkeypatch.setattr(topk, "_ROOM", room)
    mechanism = made(k=4, dropout=0.5).train()
    q, k, v = numbers(1, 4, 6, 6), numbers(1, 4, 6, 6), numbers(1, 4, 6, 6).requires_grad_()
    out = mechanism(q, k, v, Mask(SequenceInfo(), SequenceInfo(), 6, 6))
    out.sum().backward()
    assert v.grad is not None
    torch.testing.assert_close((v.grad * v).sum(), out.sum())
    quiet = mechanism.eval()(q, k, v, Mask(SequenceInfo(), SequenceInfo(), 6, 6))
    assert (quiet - out).abs().max() > 0.05


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("causal", [False, True])
def test_x_transformers(causal: bool) -> None:
    """Its sparse top-k attention keeps the same keys; rows with fewer than k keys to see as well."""
    attend = pytest.importorskip("x_transformers.attend", reason="needs the package x-transformers (the dev extra)")
    theirs = attend.Attend(sparse_topk=3, heads=4, causal=causal).double()
    q, k, v = numbers(2, 4, 7, 6), numbers(2, 4, 7, 6), numbers(2, 4, 7, 6)
    got = made(k=3, causal=causal)(q, k, v, Mask(SequenceInfo(), SequenceInfo(), 7, 7))
    torch.testing.assert_close(got, theirs(q, k, v)[0], atol=1e-10, rtol=1e-10)
