"""Positions that add to scores, against the programs and the papers that they come from."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import T5Config
from transformers.models.t5.modeling_t5 import T5Attention

from patchword.config import (
    ALiBiPositionConfig,
    PositionConfig,
    RelativeBiasPositionConfig,
    RelativeKeyPositionConfig,
    SoftmaxAttentionConfig,
    StackConfig,
)
from patchword.nn import Stack
from patchword.nn.positions import Heads, Places, Position
from patchword.nn.positions.alibi import slopes
from patchword.nn.positions.relative_bias import buckets
from patchword.sequence import SequenceInfo, Tokens
from patchword.testing import randomise

CAUSAL = pytest.mark.parametrize("causal", [False, True])


def build(config: PositionConfig, heads: Heads, axes: int = 1) -> Position:
    part: Position = config.build(Places(axes=axes), 32, heads)
    randomise(part, torch.Generator().manual_seed(5))
    return part.double()


def bias(part: Position, q: Tensor, own: Tensor, others: Tensor | None = None) -> Tensor:
    """What is added between queries at `own` and keys at `others`."""
    keys = own if others is None else others
    made = part.bias(SequenceInfo(pos=own), SequenceInfo(pos=keys))
    assert made is not None
    return made(q)


# ------------------------------------------------------------------ T5


@CAUSAL
@pytest.mark.parametrize("seed", range(6))
def test_buckets_are_those_of_t5(causal: bool, seed: int) -> None:
    rng = random.Random(seed)
    num_buckets = 2 * rng.randrange(2, 40)
    max_distance = num_buckets // 2 + rng.randrange(1, 300)
    apart = torch.arange(-max_distance, max_distance + 1)
    want = T5Attention._relative_position_bucket(apart, not causal, num_buckets, max_distance)
    assert torch.equal(buckets(num_buckets, max_distance, not causal), want)


@CAUSAL
@pytest.mark.parametrize(("queries", "keys"), [(7, 7), (1, 300), (5, 205), (250, 250)])
def test_the_bias_is_that_of_t5(causal: bool, queries: int, keys: int) -> None:
    """Also beyond the longest distance, and for the last queries of a cache."""
    config = T5Config(num_heads=6, d_model=24, d_kv=4, is_decoder=causal)
    theirs = T5Attention(config, has_relative_attention_bias=True, layer_idx=0).double()
    ours = build(RelativeBiasPositionConfig(), Heads(6, 4, causal))
    ours.load_state_dict({"table.weight": theirs.relative_attention_bias.weight})
    own, others = torch.arange(keys - queries, keys)[None], torch.arange(keys)[None]
    got = bias(ours, torch.zeros(1, 6, queries, 4, dtype=torch.float64), own, others)
    want = theirs.compute_bias(queries, keys, past_seen_tokens=keys - queries)
    assert torch.equal(got, want)


def test_pictures_have_a_two_sided_table_an_axis_also_where_attention_is_causal() -> None:
    for causal in (False, True):
        ours = build(RelativeBiasPositionConfig(num_buckets=8, max_distance=9), Heads(3, 4, causal), axes=2)
        weights = ours.get_parameter("table.weight")
        assert weights.shape == (16, 3)
        pos = torch.randint(-1, 12, (2, 9, 2))
        got = bias(ours, torch.zeros(2, 3, 9, 4, dtype=torch.float64), pos)
        for b, (i, j) in ((b, (i, j)) for b in range(2) for i in range(9) for j in range(9)):
            down, across = (pos[b, j] - pos[b, i]).unbind()
            rows = T5Attention._relative_position_bucket(torch.stack([down, across]), True, 8, 9)
            torch.testing.assert_close(got[b, :, i, j], weights[rows[0]] + weights[8 + rows[1]])


# ------------------------------------------------------------------ ALiBi


def published_slopes(heads: int) -> list[float]:
    """The authors' own lines (github.com/ofirpress/attention_with_linear_biases), for any number of heads."""

    def of_a_power(n: int) -> list[float]:
        start = 2 ** (-(2 ** -((n.bit_length() - 1) - 3)))
        return [start * start**i for i in range(n)]

    if heads & (heads - 1) == 0:
        return of_a_power(heads)
    closest = 1 << (heads.bit_length() - 1)
    return of_a_power(closest) + published_slopes(2 * closest)[0::2][: heads - closest]


@pytest.mark.parametrize("heads", range(1, 41))
def test_slopes_are_those_of_the_paper(heads: int) -> None:
    torch.testing.assert_close(slopes(heads).double(), torch.tensor(published_slopes(heads)).double())


def test_slopes_of_eight_heads() -> None:
    assert slopes(8).tolist() == [2.0**-i for i in range(1, 9)]


@pytest.mark.parametrize("axes", [1, 2])
def test_alibi_is_a_slope_times_the_distance_along_all_axes(axes: int) -> None:
    part = build(ALiBiPositionConfig(), Heads(6, 4), axes)
    own, others = torch.randint(-1, 99, (2, 2, 5, axes))
    pos = (own, others) if axes == 2 else (own[..., 0], others[..., 0])
    got = bias(part, torch.zeros(2, 6, 5, 4, dtype=torch.float64), *pos)
    apart = torch.cdist(own.double(), others.double(), p=1)
    want = -torch.tensor(published_slopes(6))[:, None, None] * apart[:, None]
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-6)
    assert not list(part.parameters())


# ------------------------------------------------------------------ Shaw


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("shared_rows", [True, False])
def test_relative_keys_are_those_of_a_plain_loop(axes: int, shared_rows: bool) -> None:
    reach, (B, H, T, S, E) = 3, (2, 3, 5, 7, 4)
    part = build(RelativeKeyPositionConfig(max_distance=reach), Heads(H, E), axes)
    weights = part.get_parameter("keys.weight")
    assert weights.shape == (axes * (2 * reach + 1), E)
    q = torch.randn(B, H, T, E, dtype=torch.float64)
    rows = 1 if shared_rows else B
    own, others = torch.randint(-1, 9, (rows, T, axes)), torch.randint(-1, 9, (rows, S, axes))
    pos = (own, others) if axes == 2 else (own[..., 0], others[..., 0])
    got = bias(part, q, *pos)
    want = torch.zeros(B, H, T, S, dtype=torch.float64)
    for b in range(B):
        for i in range(T):
            for j in range(S):
                for axis in range(axes):
                    row = 0 if shared_rows else b
                    apart = int((others[row, j, axis] - own[row, i, axis]).clamp(-reach, reach)) + reach
                    want[b, :, i, j] += q[b, :, i] @ weights[axis * (2 * reach + 1) + apart]
    torch.testing.assert_close(got, want, atol=1e-12, rtol=1e-12)


def test_the_table_of_relative_keys_is_the_fixture(shared: Path) -> None:
    """Its table reaches further than its sequence, and is indexed by query - key; ours by key - query."""
    path = shared / "reference" / "fixtures" / "s003_layer_relative.safetensors"
    if not path.is_file():
        pytest.skip("needs ../shared/reference")
    data = load_file(path)
    part = RelativeKeyPositionConfig(max_distance=15).build(Places(), 32, Heads(1, 32))
    part.load_state_dict({"keys.weight": data["sd/rel_embeddings"].flip(0)})
    unit = torch.eye(32)[:, None, None].expand(-1, 1, 9, -1)  # queries that read the table off, number by number
    got = bias(part, unit, torch.arange(9)[None])
    torch.testing.assert_close(got[:, 0].permute(1, 2, 0), data["out/rel"], atol=1e-5, rtol=0)


# ------------------------------------------------------------------ memory, and whole stacks


class Largest(TorchDispatchMode):
    """The most numbers that any tensor made under it has."""

    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for made in out if isinstance(out, tuple | list) else (out,):
            if isinstance(made, Tensor):
                self.numel = max(self.numel, made.untyped_storage().nbytes() // made.element_size())
        return out


def test_relative_keys_never_make_a_vector_for_each_pair() -> None:
    T, E = 96, 64
    part = build(RelativeKeyPositionConfig(max_distance=8), Heads(2, E))
    q = torch.randn(1, 2, T, E, dtype=torch.float64, requires_grad=True)
    with Largest() as largest:
        bias(part, q, torch.arange(T)[None]).square().sum().backward()
    assert 2 * T * T <= largest.numel < T * T * E // 8


@CAUSAL
@pytest.mark.parametrize("config", [RelativeBiasPositionConfig(), RelativeKeyPositionConfig(max_distance=3)])
def test_what_is_learned_gets_its_gradient_and_all_layers_use_it(config: PositionConfig, causal: bool) -> None:
    stack = Stack(StackConfig(dim=16, depth=3, attention=SoftmaxAttentionConfig(causal=causal), position=config))
    randomise(stack, torch.Generator().manual_seed(2))
    (weights,) = stack.position.parameters()
    totals = []
    for depth in (1, 3):
        stack.zero_grad()
        x = torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(1))
        saved, stack.blocks = stack.blocks, stack.blocks[:depth]
        stack(Tokens(x)).square().sum().backward()
        stack.blocks = saved
        assert weights.grad is not None
        totals.append(weights.grad.clone())
    assert totals[0].any()
    assert not torch.allclose(totals[0], totals[1])
