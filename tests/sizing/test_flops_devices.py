"""Operations of kernels that are not on this machine, as they would be dispatched; products of few bits, which are."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from patchword.sizing.flops import work_of
from patchword.sizing.tracing.record import Work
from tests.sizing.counting import counted

aten: Any = torch.ops.aten
T, B, INPUTS, HIDDEN, LAYERS = 7, 3, 6, 5, 2
LSTM, GRU = 2, 3


def dispatched(func: Any, *args: Any, out: Any = None, **kwargs: Any) -> Work:
    return work_of(func, args, kwargs, out)


def blank(*shape: int) -> Tensor:
    return torch.zeros(shape, device="meta")


def weights(kind: type[nn.RNNBase], ways: int) -> list[Tensor]:
    with torch.device("meta"):
        return list(kind(INPUTS, HIDDEN, LAYERS, bidirectional=ways == 2).parameters())


@pytest.mark.parametrize("ways", [1, 2])
@pytest.mark.parametrize(("kind", "mode", "gates"), [(nn.LSTM, LSTM, 4), (nn.GRU, GRU, 3)])
@pytest.mark.parametrize("packed", [False, True])
def test_recurrent_layers_of_cudnn(kind: type[nn.RNNBase], mode: int, gates: int, ways: int, packed: bool) -> None:
    x = blank(T * B - 4, INPUTS) if packed else blank(T, B, INPUTS)
    sizes = [B] * (T - 2) + [1, 1] if packed else []
    given = weights(kind, ways)
    state, rest = blank(LAYERS * ways, B, HIDDEN), (False, 0.0, True, ways == 2, sizes, None)
    forward = dispatched(
        aten._cudnn_rnn.default, x, given, 4, None, state, state, mode, HIDDEN, 0, LAYERS, *rest, out=(x,)
    )
    tokens = x.numel() // INPUTS
    maps = ways * gates * HIDDEN * ((INPUTS + HIDDEN) + (LAYERS - 1) * (ways * HIDDEN + HIDDEN))
    assert forward.model == forward.hardware == 2 * tokens * maps
    out, wanted = blank(T, B, ways * HIDDEN), [True, True, True, True]
    grads = (given[0], state, state, out, out, None, None, mode, HIDDEN, 0, LAYERS, *rest, given[0], wanted)
    backward = dispatched(aten._cudnn_rnn_backward.default, x, given, 4, *grads, out=(x,))
    assert backward.model == 2 * forward.model


@pytest.mark.parametrize("transposed", [False, True])
def test_convolutions_of_cudnn(transposed: bool) -> None:
    x, weight = blank(2, 4, 9, 9), blank(*((4, 3, 3, 3) if transposed else (6, 2, 3, 3)))
    if transposed:
        out, rest = blank(2, 3, 19, 19), ([0, 0], [0, 0], [2, 2], [1, 1], 1, False, False, False)
        found = dispatched(aten.cudnn_convolution_transpose.default, x, weight, *rest, out=out)
        assert found.model == 2 * 2 * 81 * 4 * 27
    else:
        out, rest = blank(2, 6, 7, 7), ([0, 0], [1, 1], [1, 1], 2, False, False, False)
        found = dispatched(aten.cudnn_convolution.default, x, weight, *rest, out=out)
        assert found.model == 2 * 2 * 49 * 6 * 18


def test_a_convolution_of_onednn_has_groups_where_others_are_transposed() -> None:
    x, weight, out = blank(2, 4, 9, 9), blank(6, 2, 3, 3), blank(2, 6, 7, 7)
    found = dispatched(aten.mkldnn_convolution.default, x, weight, blank(6), [0, 0], [1, 1], [1, 1], 2, out=out)
    assert (found.model, found.vector) == (2 * 2 * 49 * 6 * 18, out.numel())


def test_low_level_attention_of_other_shapes() -> None:
    q, k, v = blank(B, T, 4, 8), blank(B, 9, 4, 8), blank(B, 9, 4, 6)
    rest = (None, None, None, None, None, 0.0)
    for mask, pairs in ((0, T * 9), (1, T * (T + 1) // 2), (2, sum(i + 3 for i in range(T)))):
        found = dispatched(aten._efficient_attention_forward.default, q, k, v, *rest, mask, out=(q,))
        assert found.model == 2 * B * 4 * T * 9 * (8 + 6)
        assert found.hardware == 2 * B * 4 * pairs * (8 + 6)
    grads = (q, q, k, v, None, q, None, None, T, 9, blank(B, 4, T), 0.0, blank(), blank(), 0, False)
    found = dispatched(aten._efficient_attention_backward.default, *grads, out=(q,))
    assert (found.model, found.hardware) == (4 * B * 4 * T * 9 * 14, 2 * B * 4 * T * 9 * (2 * 14 + 8))


def test_a_window_that_a_kernel_may_mean_in_another_way_is_in_the_ledger() -> None:
    q, rest = blank(B, T, 4, 8), (None, None, None, None, None, 0.0, 1)
    assert not dispatched(aten._efficient_attention_forward.default, q, q, q, *rest, out=(q,), window_size=3).known


def test_fp8_products() -> None:
    a, b, one = torch.zeros(16, 32, device="meta", dtype=torch.float8_e4m3fn), blank(32, 48), blank()
    found = dispatched(aten._scaled_mm.default, a, b, one, one, out=blank(16, 48))
    assert found.model == 2 * 16 * 32 * 48


def test_int8_weights() -> None:
    x, weight = torch.ones(3, 32, dtype=torch.bfloat16), torch.ones(16, 32, dtype=torch.int8)
    found = counted(lambda: aten._weight_int8pack_mm(x, weight, torch.ones(16, dtype=torch.bfloat16)))
    assert (found.forward, found.ledger) == (2 * 3 * 32 * 16, {})


def test_quantised_convolutions() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.ao.nn.quantized import Conv2d

        conv = Conv2d(4, 6, 3, groups=2)
        x = torch.quantize_per_tensor(torch.rand(2, 4, 9, 9), 0.1, 0, torch.quint8)
        found = counted(lambda: conv(x))
    assert (found.forward, found.ledger) == (2 * 2 * 49 * 6 * 18, {})


def test_sums_between_processes_are_no_arithmetic_of_a_model() -> None:
    func: Any = torch.ops._c10d_functional.all_reduce.default
    assert dispatched(func, blank(4), "sum", "group", out=blank(4)) == Work()
