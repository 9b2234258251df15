"""Fused attention: what kernels compute of a mask, measured where there is one here, else by a second count."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import flex_attention as flex
from torch.utils.flop_counter import sdpa_backward_flop_count, sdpa_flop_count

from patchword.sizing.flops import work_of
from patchword.sizing.flops.attention import band, blocks_on_cpu, triangle
from tests.sizing.counting import Counted, counted

aten: Any = torch.ops.aten
B, H, G, T, S, E = 2, 4, 2, 6, 9, 8


def seen(queries: int, keys: int, sees: Callable[[int, int], bool]) -> int:
    return sum(sees(i, j) for i in range(queries) for j in range(keys))


@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (5, 5), (3, 7), (7, 3), (0, 4)])
def test_triangles_and_bands(queries: int, keys: int) -> None:
    apart = keys - queries
    assert triangle(queries, keys) == seen(queries, keys, lambda i, j: j <= i)
    assert band(None, 0)(queries, keys) == seen(queries, keys, lambda i, j: j <= i + apart)
    assert band(2, 1)(queries, keys) == seen(queries, keys, lambda i, j: i + apart - 2 <= j <= i + apart + 1)
    assert band(None, None)(queries, keys) == queries * keys


def rows_that_meet(key: int, length: int, backward: bool) -> int:
    """Queries whose products hold this key: infinity times the zero that a mask leaves is no number."""
    q, k, v = (torch.randn(1, 1, length, 8, requires_grad=True) for _ in range(3))
    if not backward:
        with torch.no_grad():
            v[0, 0, key] = float("inf")
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return int((~out[0, 0].isfinite()).any(-1).sum())
    out, norm = aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, True)
    spoilt = k.detach().clone()
    spoilt[0, 0, key] = float("inf")
    grads = aten._scaled_dot_product_flash_attention_for_cpu_backward(
        torch.ones_like(out), q.detach(), spoilt, v.detach(), out.detach(), norm.detach(), 0.0, True
    )
    return int((~grads[0][0, 0].isfinite()).any(-1).sum())


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("length", [100, 190, 200, 600, 700, 1030, 1300])
def test_the_causal_kernel_of_the_cpu_computes_these_blocks(length: int, backward: bool) -> None:
    """Measured on the kernel itself: one key of each block of 512, and how many queries meet it."""
    edges = [*range(0, length, 512), length]
    measured = sum((end - first) * rows_that_meet(first, length, backward) for first, end in pairwise(edges))
    for first, end in pairwise(edges):
        assert rows_that_meet(first, length, backward) == rows_that_meet(end - 1, length, backward)
    assert blocks_on_cpu(length, length) == measured


def test_short_causal_attention_saves_nothing_on_the_cpu() -> None:
    assert blocks_on_cpu(512, 512) == 512 * 512
    assert triangle(2048, 2048) < blocks_on_cpu(2048, 2048) < 2048 * 2048


def inputs(keys: int = S, width: int = E, groups: int = H) -> tuple[Tensor, Tensor, Tensor]:
    shapes = ((B, H, T, E), (B, groups, keys, E), (B, groups, keys, width))
    q, k, v = (torch.zeros(shape, device="meta", requires_grad=True) for shape in shapes)
    return q, k, v


def efficient(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    return aten._scaled_dot_product_efficient_attention(q, k, v, None, True, 0.0, causal)[0]


def efficient_with_a_bias(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    bias = torch.zeros(B, H, T, k.shape[2], device="meta", requires_grad=True)
    return aten._scaled_dot_product_efficient_attention(q, k, v, bias, True, 0.0, causal)[0]


def flash(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    return aten._scaled_dot_product_flash_attention(q, k, v, 0.0, causal)[0]


def cudnn(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    return aten._scaled_dot_product_cudnn_attention(q, k, v, None, True, 0.0, causal)[0]


@pytest.mark.parametrize("kernel", [flash, efficient, efficient_with_a_bias, cudnn])
@pytest.mark.parametrize("causal", [False, True])
def test_kernels_of_gpus(kernel: Callable[..., Tensor], causal: bool) -> None:
    q, k, v = inputs(keys=T)
    found = counted(lambda: kernel(q, k, v, causal).sum().backward())
    pairs = B * H * (T * (T + 1) // 2 if causal else T * T)
    assert found.forward == sdpa_flop_count(q.shape, k.shape, v.shape)
    assert found.backward == 2 * found.forward
    assert found.hardware == 7 * 2 * pairs * E
    assert found.ledger == {}
    if not causal:  # torch's own counter has what the kernel computes, all pairs
        every = sdpa_backward_flop_count(q.shape, q.shape, k.shape, v.shape)
        assert found.hardware == found.forward + every


def test_other_widths_and_lengths() -> None:
    q, k, v = inputs(keys=S, width=3)
    found = counted(lambda: efficient(q, k, v, causal=True).sum().backward())
    pairs, seen_pairs = B * H * T * S, B * H * seen(T, S, lambda i, j: j <= i)
    assert found.forward == 2 * pairs * (E + 3)
    assert found.backward == 4 * pairs * (E + 3)
    assert found.hardware == 2 * seen_pairs * (E + 3) + 2 * seen_pairs * (2 * (E + 3) + E)


def low_level(borders: Tensor | None, causal: bool, **window: int) -> Counted:
    """[tokens, H, E] with the borders of documents, or [B, T, H, E]."""
    shape = (B, T, H, E) if borders is None else (int(borders[-1]), H, E)
    device = "meta" if borders is None else "cpu"
    q, k, v = (torch.zeros(shape, device=device, dtype=torch.half) for _ in range(3))
    # there is no such kernel here: what it would be given is all that counts
    func = aten._flash_attention_forward.default
    work = work_of(func, (q, k, v, borders, borders, T, T, 0.0, causal, False), window, (torch.zeros(1),))
    return Counted(work.model, 0, work.hardware, work.vector, {} if work.known else {"": 1}, [])  # pyright: ignore


def test_packed_documents_are_counted_one_by_one() -> None:
    lengths, borders = (4, 6, 0, 1), torch.tensor([0, 4, 10, 10, 11], dtype=torch.int32)
    whole, half = low_level(borders, causal=False), low_level(borders, causal=True)
    assert whole.forward == half.forward == whole.hardware == sum(4 * H * n * n * E for n in lengths)
    assert half.hardware == sum(4 * H * E * n * (n + 1) // 2 for n in lengths)


def test_windows_of_a_kernel() -> None:
    found = low_level(None, causal=True, window_size_left=2)
    assert found.hardware == 4 * B * H * E * seen(T, T, lambda i, j: i - 2 <= j <= i)
    assert found.forward == 4 * B * H * E * T * T


def test_packed_documents_without_contents_are_in_the_ledger() -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):
        borders = torch.tensor([0, 4, 10], dtype=torch.int32)
        q = torch.zeros(10, H, E)
        func = aten._flash_attention_forward.default
        assert not work_of(func, (q, q, q, borders, borders, T, T, 0.0, False, False), {}, (q,)).known


def block_mask(length: int, sees: Callable[..., Any]) -> flex.BlockMask:
    return flex.create_block_mask(sees, None, None, length, length, device="cpu", BLOCK_SIZE=16)


def test_flex_attention_counts_the_blocks_of_its_mask() -> None:
    length, reach = 50, 5
    q, k, v = torch.randn(B, H, length, E), torch.randn(B, G, length, E), torch.randn(B, G, length, E)

    def near(b: Any, h: Any, i: Any, j: Any) -> Any:
        return (i >= j) & (i - j < reach)

    mask = block_mask(length, near)
    found = counted(lambda: flex.flex_attention(q, k, v, block_mask=mask, enable_gqa=True))
    blocks = {(i // 16, j // 16) for i in range(length) for j in range(length) if 0 <= i - j < reach}
    pairs = sum((min(16, length - 16 * a)) * (min(16, length - 16 * b)) for a, b in blocks)
    assert found.forward == 4 * B * H * length * length * E
    assert found.hardware == 4 * B * H * pairs * E
    assert found.ledger == {}


def test_flex_attention_without_a_mask() -> None:
    q = torch.randn(B, H, 20, E)
    found = counted(lambda: flex.flex_attention(q, q, q))
    assert found.forward == found.hardware == 4 * B * H * 20 * 20 * E


def test_flex_attention_compiles_itself_again_afterwards() -> None:
    before = flex._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG
    counted(lambda: None)
    assert before == flex._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG
