"""LSH attention against the public `reformer-pytorch` library with the same rotations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from patchword.config import ReformerAttentionConfig
from patchword.nn.mechanisms.reformer import ReformerAttention
from patchword.sequence import Mask, SequenceInfo


@pytest.fixture(scope="module")
def library() -> Iterator[Any]:
    """Its import scripts functions of another package, which torch 2.13 calls deprecated."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield pytest.importorskip("reformer_pytorch.reformer_pytorch", reason="needs reformer-pytorch (the dev extra)")


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def ours(**settings: Any) -> ReformerAttention:
    return ReformerAttention(ReformerAttentionConfig(num_heads=1, **settings), 8).double().eval()


def run(mechanism: ReformerAttention, qk: Tensor, v: Tensor) -> Tensor:
    length = qk.shape[1]
    return mechanism(qk[:, None], qk[:, None], v[:, None], Mask(SequenceInfo(), SequenceInfo(), length, length))[:, 0]


@pytest.mark.parametrize("causal", [False, True])
def test_one_bucket_is_its_full_shared_qk_attention(library: Any, causal: bool) -> None:
    qk, v = numbers(3, 12, 8), numbers(3, 12, 8)
    want = library.FullQKAttention(causal=causal)(qk, v)[0]
    torch.testing.assert_close(run(ours(causal=causal, bucket_size=12), qk, v), want, atol=1e-10, rtol=1e-10)


def evenly(rotations: Tensor, num_buckets: int, size: int) -> Tensor:
    """Random vectors, `size` of them nearest to each of [R; -R], in random order; R [E, buckets / 2] -> [1, n, E]."""
    x = numbers(400 * num_buckets * size, 8)
    bucket = torch.cat([x @ rotations, -x @ rotations], -1).argmax(-1)
    chosen = torch.cat([x[bucket == i][:size] for i in range(num_buckets)])
    return chosen[torch.randperm(num_buckets * size)][None]


@pytest.mark.parametrize(("num_buckets", "rounds"), [(2, 1), (4, 1), (8, 1), (2, 3)])
def test_several_buckets(library: Any, num_buckets: int, rounds: int) -> None:
    """Equal where it attends within buckets only, causally, and no bucket is larger than `bucket_size`."""
    size, columns, compared = 16, num_buckets // 2, 0
    mechanism = ours(causal=True, bucket_size=size, num_hashes=rounds)
    theirs = library.LSHAttention(bucket_size=size, n_hashes=rounds, causal=True, attend_across_buckets=False).eval()
    for seed in range(40):
        torch.manual_seed(seed)
        rotations = torch.randn(1, 8, rounds, columns, dtype=torch.float64)[0]  # as the library will draw them
        mechanism.rotations[0, :, :, :columns] = rotations.transpose(0, 1)
        qk, v = evenly(rotations[:, 0], num_buckets, size), numbers(1, num_buckets * size, 8)
        torch.manual_seed(seed)
        want, _, buckets = theirs(qk, v)
        if torch.bincount(buckets.flatten()).max() > size:
            continue
        torch.testing.assert_close(run(mechanism, qk, v), want, atol=1e-10, rtol=1e-10)
        compared += 1
    assert compared >= (40 if rounds == 1 else 1), f"only {compared} draws filled the buckets evenly"


def test_its_causal_attention_depends_on_the_future(library: Any) -> None:
    """There, the last token decides where chunks end, so what earlier tokens see; here it cannot be seen at all."""
    size, length, change = 4, 32, []
    mechanism = ours(causal=True, bucket_size=size, num_hashes=1)
    theirs = library.LSHAttention(bucket_size=size, n_hashes=1, causal=True).eval()
    for seed in range(10):
        qk, v = numbers(1, length, 8), numbers(1, length, 8)
        other = qk.clone()
        other[:, -1] = numbers(1, 8)
        outs = []
        for x in (qk, other):
            torch.manual_seed(seed)
            outs.append(theirs(x, v)[0])
        change.append(float((outs[0] - outs[1])[:, :-1].abs().max()))
        torch.testing.assert_close(run(mechanism, qk, v)[:, :-1], run(mechanism, other, v)[:, :-1])
    assert max(change) > 0.1
