"""Performer against the public `performer-pytorch` with the same projection matrix."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import pytest
import torch
from kernel_matrix import QKV, inputs, itself
from torch import Tensor

from patchword.config import LinearAttentionConfig, PerformerAttentionConfig
from patchword.nn.mechanisms.linear import LinearAttention
from patchword.nn.mechanisms.performer import PerformerAttention
from patchword.nn.mechanisms.random_features import draw
from patchword.sequence import SequenceInfo

with warnings.catch_warnings():  # it asks distutils for torch's version
    warnings.simplefilter("ignore", DeprecationWarning)
    library = pytest.importorskip(
        "performer_pytorch.performer_pytorch", reason="needs the package performer-pytorch (the dev extra)"
    )

LENGTH = 150  # their causal sums are taken 128 tokens at a time


def ours(causal: bool, **settings: Any) -> PerformerAttention:
    config = PerformerAttentionConfig(num_heads=3, num_features=20, causal=causal, chunk=32, **settings)
    return PerformerAttention(config, 8).double()


def close(got: Tensor, want: Tensor, x: QKV, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(got, want, atol=tolerance, rtol=tolerance)
    upstream = torch.randn_like(want)
    for a, b in zip(*(torch.autograd.grad(y, x, upstream) for y in (got, want)), strict=True):
        torch.testing.assert_close(a, b, atol=10 * tolerance, rtol=10 * tolerance)


def gather(causal: bool, q: Tensor, k: Tensor, v: Tensor, eps: float) -> Tensor:
    return library.causal_linear_attention_noncuda(q, k, v, eps=eps) if causal else library.linear_attention(q, k, v)


@pytest.mark.parametrize("causal", [False, True])
def test_softmax_kernel(causal: bool) -> None:
    """With its eps at 0, which is inside the features there: shifts cancel, outputs and gradients are equal."""
    mechanism, x = ours(causal), inputs(2, LENGTH, 3, 3, 8)
    q, k, v = x
    kernel = functools.partial(library.softmax_kernel, projection_matrix=mechanism.projection, eps=0.0)
    want = gather(causal, kernel(q, is_query=True), kernel(k, is_query=False), v, 0.0)
    close(mechanism(*x, itself(SequenceInfo(), LENGTH)), want, x)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("feature", ["relu", "exp"])
def test_generalised_kernels(causal: bool, feature: str) -> None:
    """eps is added to features in both; exp features need none here."""
    mechanism, x = ours(causal, feature=feature), inputs(2, LENGTH, 3, 3, 8)
    function, eps = (torch.nn.ReLU(), 1e-3) if feature == "relu" else (torch.exp, 0.0)
    kernel = functools.partial(
        library.generalized_kernel, projection_matrix=mechanism.projection, kernel_fn=function, kernel_epsilon=eps
    )
    q, k, v = x
    close(mechanism(*x, itself(SequenceInfo(), LENGTH)), gather(causal, kernel(q), kernel(k), v, 0.0), x)


def module(mechanism: PerformerAttention, causal: bool, **settings: Any) -> Any:
    """Their whole module, with our directions."""
    theirs = library.FastAttention(8, 20, causal=causal, **settings).double()
    theirs.projection_matrix.copy_(mechanism.projection)
    return theirs


def test_whole_module_with_relu() -> None:
    """As it comes: the same features with the same eps."""
    mechanism, x = ours(False, feature="relu"), inputs(2, LENGTH, 3, 3, 8)
    close(mechanism(*x, itself(SequenceInfo(), LENGTH)), module(mechanism, False, generalized_attention=True)(*x), x)


def test_where_its_eps_counts() -> None:
    """Its softmax features get 1e-4 after they were divided by the largest of all: the larger one key, the more all
    others become alike. Ours do not change when one key that no query looks at grows."""
    mechanism = ours(False)
    q, k, v = (y.detach() for y in inputs(1, 40, 3, 3, 8))
    theirs, mask = module(mechanism, False), itself(SequenceInfo(), 40)
    error = (theirs(q, k, v) - mechanism(q, k, v, mask)).abs().max()
    assert 1e-6 < error < 0.1
    k[:, :, :-1] *= 3  # far from 0, most features are small beside the largest
    assert (theirs(q, k, v) - mechanism(q, k, v, mask)).abs().max() > error


def test_its_key_stabiliser_cannot_be_cached() -> None:
    """A later key changes its earlier outputs, by way of the largest feature and eps; ours stay as they are."""
    mechanism = ours(True)
    q, k, v = (y.detach() for y in inputs(1, 12, 3, 3, 8))
    other = k.clone()
    other[:, :, -1] *= 6
    kernel = functools.partial(library.softmax_kernel, projection_matrix=mechanism.projection)

    def their(keys: Tensor) -> Tensor:
        return gather(True, kernel(q, is_query=True), kernel(keys, is_query=False), v, 1e-6)[:, :, :-1]

    assert (their(other) - their(k)).abs().max() > 1e-3
    mask = itself(SequenceInfo(), 12)
    a, b = (mechanism(q, keys, v, mask)[:, :, :-1] for keys in (other, k))
    torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
def test_linear_attention(causal: bool) -> None:
    """elu + 1 through its sums; its causal eps is added to each feature's sum, ours to the divisor."""
    mechanism = LinearAttention(LinearAttentionConfig(num_heads=3, causal=causal, chunk=32, eps=1e-12), 8)
    x = inputs(2, LENGTH, 3, 3, 8)
    q, k, v = x
    want = gather(causal, torch.nn.functional.elu(q) + 1, torch.nn.functional.elu(k) + 1, v, 0.0)
    close(mechanism(*x, itself(SequenceInfo(), LENGTH)), want, x)


def test_its_directions_are_not_all_as_likely() -> None:
    """Orthogonal in blocks, as ours; but the signs that QR leaves are not evened out: the n-th coordinate of the n-th
    direction is nearly always negative, so that the estimate is not unbiased."""
    torch.manual_seed(0)
    theirs = torch.stack([library.gaussian_orthogonal_random_matrix(8, 8) for _ in range(200)])
    unit = torch.nn.functional.normalize(theirs, dim=-1)
    torch.testing.assert_close(unit @ unit.mT, torch.eye(8).expand(200, -1, -1), atol=1e-5, rtol=0)
    mine = torch.stack([draw(8, 8, orthogonal=True, seed=seed, number=0) for seed in range(200)])
    share = [(x.diagonal(dim1=1, dim2=2) > 0).double().mean(0) for x in (theirs, mine)]
    assert share[0][0] == 0
    assert share[0][:7].max() < 0.4
    assert (share[1] - 0.5).abs().max() < 0.15  # 4 standard errors
