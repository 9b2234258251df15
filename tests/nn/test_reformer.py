"""LSH attention: against one query at a time over the sets that hashes give, and full shared-QK attention."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from largest import Largest
from torch import Tensor

from patchword.config import ReformerAttentionConfig, StackConfig
from patchword.nn import Stack
from patchword.nn.mechanisms.reformer import ReformerAttention
from patchword.sequence import Mask, SequenceInfo, Tokens
from patchword.testing import Case, Subject, check_mechanism, laws_for


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def made(width: int, **settings: Any) -> ReformerAttention:
    return ReformerAttention(ReformerAttentionConfig(**settings), width).double().eval()


def on(length: int, info: SequenceInfo | None = None) -> Mask:
    info = SequenceInfo() if info is None else info
    return Mask(info, info, length, length)


def hashed(x: Tensor, mechanism: ReformerAttention, index: int) -> list[tuple[int, ...]]:
    """The bucket of each token of one document, x [n, E]: the nearest of [R; -R], one hash after another."""
    count, bits, width = len(x), 0, x.shape[1]
    while mechanism.bucket_size * 2**bits < count:
        bits += 1
    capacity = int(math.log2(2 * width))
    found: list[tuple[int, ...]] = [()] * count
    for i, done in enumerate(range(0, bits, capacity)):
        half = 2 ** (min(bits - done, capacity) - 1)
        near = x @ mechanism.rotations[i, index, :, :half]
        found = [(*f, int(n)) for f, n in zip(found, torch.cat([near, -near], -1).argmax(-1), strict=True)]
    return found


def plain(mechanism: ReformerAttention, q: Tensor, v: Tensor, info: SequenceInfo) -> Tensor:
    """Weights exp(score) times the number of rounds in which two tokens meet; a token meets itself if nothing else."""
    out = torch.zeros_like(q)
    batch, heads, length, _ = q.shape
    groups = v.shape[1]
    for b in range(batch):
        real = [t for t in range(length) if info.valid is None or info.valid[b, t]]
        segment = [0 if info.segment is None else int(info.segment[b, t]) for t in range(length)]
        order = [t if info.order is None else int(info.order[b, t]) for t in range(length)]
        for h in range(heads):
            times: dict[tuple[int, int], int] = {}
            for document in {segment[t] for t in real}:
                places = [t for t in real if segment[t] == document]
                for index in range(mechanism.num_hashes):
                    bucket = dict(zip(places, hashed(q[b, h, places].detach(), mechanism, index), strict=True))
                    for name in set(bucket.values()):
                        line = sorted((order[t], t) for t in places if bucket[t] == name)
                        for i, (mine, t) in enumerate(line):
                            for j, (theirs, s) in enumerate(line):
                                late = mechanism.config.causal and theirs > mine
                                if t != s and abs(i - j) <= mechanism.bucket_size and not late:
                                    times[t, s] = times.get((t, s), 0) + 1
            for t in real:
                met = [s for s in real if (t, s) in times]
                if not met:
                    out[b, h, t] = v[b, h * groups // heads, t]
                    continue
                keys = q[b, h, met] / q[b, h, met].norm(dim=-1, keepdim=True)
                scores = (
                    keys @ q[b, h, t] * mechanism.scale + torch.tensor([times[t, s] for s in met], dtype=q.dtype).log()
                )
                out[b, h, t] = scores.softmax(-1) @ v[b, h * groups // heads, met]
    return out


FACTS = {
    "none": SequenceInfo(),
    "padding": SequenceInfo(valid=torch.tensor([[True] * 23 + [False], [False] * 9 + [True] * 15])),
    "segments": SequenceInfo(
        valid=torch.tensor([[True] * 24, [False] * 2 + [True] * 22]),
        segment=torch.tensor([[7] * 3 + [2] * 12 + [5] * 9, [1] * 20 + [0] * 4]),
    ),
    "order": SequenceInfo(order=torch.tensor([[5] * 6 + list(range(6, 24)), [*range(12), *range(11, -1, -1)]])),
}


@pytest.mark.parametrize("facts", list(FACTS))
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("width", "size", "groups"), [(6, 3, 4), (6, 30, 2), (2, 1, 1), (1, 2, 2)])
def test_against_the_sets_of_its_hashes(facts: str, causal: bool, width: int, size: int, groups: int) -> None:
    """Several buckets, one, and more than one hash can tell apart (width 2: four, width 1: two)."""
    mechanism = made(width, num_heads=4, num_kv_heads=groups, causal=causal, bucket_size=size, num_hashes=3, seed=1)
    q, v = numbers(2, 4, 24, width).requires_grad_(), numbers(2, groups, 24, width).requires_grad_()
    upstream, results = numbers(2, 4, 24, width), []
    for out in (mechanism(q, q, v, on(24, FACTS[facts])), plain(mechanism, q, v, FACTS[facts])):
        results.append((out, *torch.autograd.grad((out * upstream).sum(), [q, v])))
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("size", [9, 64])
def test_one_bucket_is_full_attention_with_shared_keys(causal: bool, size: int) -> None:
    mechanism = made(6, num_heads=2, causal=causal, bucket_size=size)
    q, v = numbers(2, 2, 9, 6).requires_grad_(), numbers(2, 2, 9, 6).requires_grad_()
    scores = q @ torch.nn.functional.normalize(q, dim=-1).mT * 6**-0.5
    hidden = torch.eye(9, dtype=torch.bool)
    if causal:
        hidden = hidden | torch.ones(9, 9, dtype=torch.bool).triu(1)
    want = scores.masked_fill(hidden, -torch.inf).softmax(-1).nan_to_num(0.0) @ v
    if causal:  # the first token sees nothing else
        want = torch.cat([v[:, :, :1], want[:, :, 1:]], 2)
    got, upstream = mechanism(q, q, v, on(9)), numbers(2, 2, 9, 6)
    torch.testing.assert_close(got, want, atol=1e-10, rtol=1e-10)
    mine, theirs = (torch.autograd.grad((out * upstream).sum(), [q, v], retain_graph=True) for out in (got, want))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b.nan_to_num(0.0), atol=1e-10, rtol=1e-10)


def test_contract() -> None:
    counts = check_mechanism(ReformerAttentionConfig)
    assert counts["refused"] == 4  # window, cross, cache, dropout
    assert counts["the_future_is_invisible"] == 7


@pytest.mark.parametrize("size", [1, 2, 3])
def test_every_law_holds_with_many_buckets(size: int) -> None:
    """Among them: neither padding, nor other rows, nor the future move a token to other neighbours."""
    for causal in (False, True):
        own = ReformerAttentionConfig(num_heads=4, num_kv_heads=2, causal=causal, bucket_size=size, num_hashes=2)
        case = Case(StackConfig(dim=16, attention=own))
        for law in laws_for(case):
            law.holds(Subject(case))


def test_there_is_no_key_map_and_no_state() -> None:
    stack = Stack(StackConfig(dim=16, depth=1, attention=ReformerAttentionConfig(num_heads=2)))
    names = {name for name in stack.state_dict() if "self_attn.step" in name}
    maps = {f"blocks.0.self_attn.step.{part}_proj.{kind}" for part in ("q", "v", "out") for kind in ("weight", "bias")}
    assert names == maps


def test_the_seed_is_all_that_hashes_depend_on() -> None:
    x = torch.randn(1, 64, 16)
    outs = []
    for seed in (0, 0, 1):
        own = ReformerAttentionConfig(num_heads=2, bucket_size=8, num_hashes=1, seed=seed)
        torch.manual_seed(5)
        stack = Stack(StackConfig(dim=16, depth=1, attention=own))
        torch.randn(seed + 1)
        outs.append(stack(Tokens(x)))
        torch.testing.assert_close(stack.train()(Tokens(x)), outs[-1])
    torch.testing.assert_close(outs[0], outs[1])
    assert (outs[0] - outs[2]).abs().max() > 1e-3


def test_more_rounds_come_nearer_to_full_attention() -> None:
    """The error falls with the rounds, and is smaller than that of seeing nothing but the mean."""
    middles = torch.randn(8, 16)
    errors = dict.fromkeys((1, 2, 4, 8), 0.0)
    for _ in range(10):
        q = 6 * (middles[torch.randint(8, (1, 1, 128))] + 0.3 * torch.randn(1, 1, 128, 16))
        v = torch.randn(1, 1, 128, 16)
        full = ReformerAttention(ReformerAttentionConfig(num_heads=1, bucket_size=128), 16)(q, q, v, on(128))
        for rounds in errors:
            some = ReformerAttention(ReformerAttentionConfig(num_heads=1, bucket_size=16, num_hashes=rounds), 16)
            errors[rounds] += float((some(q, q, v, on(128)) - full).square().mean())
    assert errors[1] > errors[2] > errors[4] > errors[8]


@pytest.mark.parametrize("causal", [False, True])
def test_no_matrix_of_all_pairs(causal: bool) -> None:
    """The largest tensor of forward and backward grows as the length does."""
    mechanism = made(4, num_heads=2, causal=causal, bucket_size=8, num_hashes=2)
    sizes = []
    for length in (256, 512, 1024):
        q, v = numbers(1, 2, length, 4).requires_grad_(), numbers(1, 2, length, 4).requires_grad_()
        with Largest() as largest:
            mechanism(q, q, v, on(length)).sum().backward()
        sizes.append(largest.numel / length)
    assert sizes[0] == sizes[1] == sizes[2] == 2 * 8 * (2 if causal else 3)  # heads, chunk, chunks that are seen
