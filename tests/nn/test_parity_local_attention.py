"""Sparse attention against the public `local-attention` library, with the same queries, keys and values."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from patchword.config import (
    BlockPatternConfig,
    LocalPatternConfig,
    PatternConfig,
    RotaryPositionConfig,
    SparseAttentionConfig,
)
from patchword.nn.mechanisms.sparse import SparseAttention
from patchword.nn.positions import ANYWHERE, Heads
from patchword.sequence import Mask, SequenceInfo

library = pytest.importorskip("local_attention", reason="needs the package local-attention (the dev extra)")

HEADS, WIDTH, SIZE = 4, 16, 6


def numbers(length: int) -> list[Tensor]:
    return [torch.randn(2, HEADS, length, WIDTH, dtype=torch.float64, requires_grad=True) for _ in range(3)]


def ours(pattern: PatternConfig, causal: bool) -> SparseAttention:
    return SparseAttentionConfig(num_heads=HEADS, pattern=pattern, causal=causal).build(WIDTH)


def run(mechanism: SparseAttention, q: Tensor, k: Tensor, v: Tensor, valid: Tensor | None = None) -> Tensor:
    info = SequenceInfo(valid=valid)
    return mechanism(q, k, v, Mask(info, info, q.shape[2], q.shape[2]))


def same(got: Tensor, want: Tensor, inputs: list[Tensor]) -> None:
    """Outputs and gradients."""
    torch.testing.assert_close(got, want, atol=1e-10, rtol=1e-10)
    weight = torch.randn_like(want)
    for a, b in zip(*(torch.autograd.grad((x * weight).sum(), inputs) for x in (got, want)), strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("around", [1, 2])
def test_its_exact_window_is_a_local_pattern(causal: bool, around: int) -> None:
    """Its window counts steps: `window_size * look_backward` tokens before, beside the token itself."""
    settings: dict[str, Any] = {"look_backward": around, "look_forward": 0 if causal else around}
    theirs = library.LocalAttention(SIZE, causal=causal, exact_windowsize=True, use_rotary_pos_emb=False, **settings)
    inputs = numbers(30)
    reach = SIZE * around + 1
    same(run(ours(LocalPatternConfig(reach=reach), causal), *inputs), theirs(*inputs), inputs)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("around", [0, 1, 2])
def test_its_plain_window_is_blocks_and_their_neighbours(causal: bool, around: int) -> None:
    """The usual form of the library is not a sliding window: how far a token sees depends on its place in its block."""
    settings: dict[str, Any] = {"look_backward": around, "look_forward": 0 if causal else around}
    theirs = library.LocalAttention(SIZE, causal=causal, use_rotary_pos_emb=False, **settings)
    inputs = numbers(30)
    pattern = BlockPatternConfig(block_size=SIZE, num_neighbours=around, num_global=0, num_random=0)
    same(run(ours(pattern, causal), *inputs), theirs(*inputs), inputs)


def test_padding_on_the_right_and_a_length_that_is_no_multiple() -> None:
    theirs = library.LocalAttention(SIZE, exact_windowsize=True, autopad=True, use_rotary_pos_emb=False)
    inputs = numbers(32)
    valid = torch.arange(32) < torch.tensor([[32], [21]])
    got = run(ours(LocalPatternConfig(reach=SIZE + 1), causal=False), *inputs, valid)
    want = theirs(*inputs, mask=valid)
    kept = valid[:, None, :, None]
    same(got * kept, want * kept, inputs)


def test_its_automatic_padding_is_seen_without_a_mask() -> None:
    """Keys that it adds to fill a block are zeros, not hidden ones: the last tokens come out too small."""
    theirs = library.LocalAttention(SIZE, exact_windowsize=True, autopad=True, use_rotary_pos_emb=False)
    q, k, v = numbers(32)  # four tokens are added to fill the last block
    got = run(ours(LocalPatternConfig(reach=SIZE + 1), causal=False), q, k, v)
    differ = (got - theirs(q, k, v)).abs().amax((0, 1, 3)) > 1e-6
    assert differ.tolist() == [place + SIZE >= 32 for place in range(32)]


def test_its_blind_rows_get_the_mean_of_what_is_hidden() -> None:
    theirs = library.LocalAttention(SIZE, causal=True, look_backward=0, use_rotary_pos_emb=False)
    q, k, v = numbers(SIZE)
    valid = torch.arange(SIZE)[None].expand(2, -1) > 1
    pattern = BlockPatternConfig(block_size=SIZE, num_neighbours=0, num_global=0, num_random=0)
    got, want = run(ours(pattern, causal=True), q, k, v, valid), theirs(q, k, v, mask=valid)
    torch.testing.assert_close(got[:, :, 2:], want[:, :, 2:], atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(want[:, :, 0], v.mean(2), atol=1e-10, rtol=1e-10)
    assert not got[:, :, :2].any()


def test_rotary() -> None:
    theirs = library.LocalAttention(SIZE, causal=True, exact_windowsize=True, dim=WIDTH).double()
    inputs = numbers(24)
    position = RotaryPositionConfig().build(ANYWHERE, HEADS * WIDTH, Heads(HEADS, WIDTH))
    turn = position.rotation(SequenceInfo(pos=torch.arange(24)[None]), torch.float64)
    assert turn is not None
    got = run(ours(LocalPatternConfig(reach=SIZE + 1), causal=True), turn(inputs[0]), turn(inputs[1]), inputs[2])
    torch.testing.assert_close(got, theirs(*inputs), atol=1e-5, rtol=1e-5)  # its angles are float32
