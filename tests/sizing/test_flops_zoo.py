"""Operations that counters are known to miss: each has its exact count here, or stands in the ledger."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint

from tests.sizing.counting import counted

aten: Any = torch.ops.aten
B, T, S, D, H, E = 2, 6, 5, 12, 2, 6


def numbers(*shape: int) -> Tensor:
    return torch.randn(shape, requires_grad=True)


def both_ways(run: Callable[[], Any]) -> Callable[[], None]:
    """Forward, and backward from the sum of the first tensor."""

    def step() -> None:
        out = run()
        (out if isinstance(out, Tensor) else out[0]).sum().backward()

    return step


@contextmanager
def deprecations_ignored() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def quantised(module: nn.Module, *shape: int) -> Callable[[], None]:
    with deprecations_ignored():
        made = torch.ao.quantization.quantize_dynamic(nn.Sequential(module), {nn.Linear, nn.LSTM, nn.GRU})
    return lambda: made(torch.randn(shape))


def attend(causal: bool = False, groups: int = H, mask: Tensor | None = None, keys: int = S) -> Tensor:
    q, k, v = numbers(B, H, T, E), numbers(B, groups, keys, E), numbers(B, groups, keys, E)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=groups != H)


def without_gradients(module: nn.Module, *given: Any, **named: Any) -> Callable[[], None]:
    def run() -> None:
        with torch.no_grad():
            module.eval()(*given, **named)

    return run


def under_inference(run: Callable[[], Any]) -> Callable[[], None]:
    def inside() -> None:
        with torch.inference_mode():
            run()

    return inside


def on(device: str, run: Callable[[], Any]) -> Callable[[], None]:
    def inside() -> None:
        with torch.device(device):
            run()

    return inside


PAIRS = 2 * B * H * T * S * E
"""One product of all pairs."""
SQUARE = 2 * B * H * T * T * E
MAPS = 8 * B * T * D * D
"""Queries, keys, values and results of a layer of attention."""
MHA = MAPS + 4 * B * T * T * D
X = torch.randn(B, T, D)

FORWARD: dict[str, tuple[Callable[[], Any], int]] = {
    "mm": (lambda: numbers(3, 4) @ numbers(4, 5), 2 * 60),
    "complex mm": (lambda: torch.ones(3, 4, dtype=torch.cfloat) @ torch.ones(4, 5, dtype=torch.cfloat), 8 * 60),
    "matrix times vector": (lambda: numbers(5, 7) @ numbers(7), 2 * 35),
    "addmv": (lambda: torch.addmv(numbers(5), numbers(5, 7), numbers(7)), 2 * 35),
    "dot": (lambda: torch.dot(numbers(9), numbers(9)), 18),
    "vdot": (lambda: torch.vdot(numbers(9), numbers(9)), 18),
    "outer": (lambda: torch.outer(numbers(3), numbers(4)), 0),
    "bmm": (lambda: numbers(2, 3, 4) @ numbers(2, 4, 5), 2 * 2 * 60),
    "broadcast matmul": (lambda: numbers(3, 4) @ numbers(2, 6, 4, 5), 2 * 12 * 60),
    "addmm": (lambda: torch.addmm(numbers(5), numbers(3, 4), numbers(4, 5)), 2 * 60),
    "addbmm": (lambda: torch.addbmm(numbers(3, 5), numbers(2, 3, 4), numbers(2, 4, 5)), 2 * 2 * 60),
    "baddbmm": (lambda: torch.baddbmm(numbers(1, 3, 5), numbers(2, 3, 4), numbers(2, 4, 5)), 2 * 2 * 60),
    "einsum": (lambda: torch.einsum("bij,bkj->bik", numbers(2, 3, 4), numbers(2, 5, 4)), 2 * 2 * 60),
    "einsum of three": (
        lambda: torch.einsum("bi,ij,bj->b", numbers(2, 3), numbers(3, 4), numbers(2, 4)),
        2 * 2 * 12 + 2 * 2 * 4,
    ),
    "tensordot": (lambda: torch.tensordot(numbers(3, 4, 5), numbers(4, 5, 6), 2), 2 * 3 * 20 * 6),
    "linear": (lambda: F.linear(numbers(2, 3, 4), numbers(5, 4), numbers(5)), 2 * 6 * 20),
    "bilinear": (lambda: F.bilinear(numbers(7, 3), numbers(7, 4), numbers(5, 3, 4)), 2 * 7 * 5 * 12 + 2 * 7 * 5 * 4),
    "sum of products": (lambda: (numbers(3, 4) * numbers(3, 4)).sum(-1), 0),
    "sparse.mm": (lambda: torch.sparse.mm(torch.eye(6).to_sparse(), numbers(6, 3)), 2 * 6 * 3),
    "sparse csr": (lambda: torch.eye(6).to_sparse_csr() @ torch.randn(6, 3), 2 * 6 * 3),
    "euclidean distances": (lambda: torch.cdist(torch.randn(30, 4), torch.randn(35, 4)), 2 * 30 * 35 * 6),
    "grouped mm of rows": (
        lambda: aten._grouped_mm(
            torch.ones(16, 8, dtype=torch.bfloat16),
            torch.ones(2, 8, 24, dtype=torch.bfloat16),
            offs=torch.tensor([8, 16], dtype=torch.int32),
        ),
        2 * 16 * 8 * 24,
    ),
    "grouped mm of the inner width": (
        lambda: aten._grouped_mm(
            torch.ones(8, 16, dtype=torch.bfloat16),
            torch.ones(16, 24, dtype=torch.bfloat16),
            offs=torch.tensor([8, 16], dtype=torch.int32),
        ),
        2 * 8 * 16 * 24,
    ),
    "int mm": (
        lambda: aten._int_mm(torch.ones(32, 16, dtype=torch.int8), torch.ones(16, 24, dtype=torch.int8)),
        2 * 32 * 16 * 24,
    ),
    "dynamic int8 linear": (quantised(nn.Linear(8, 4), 3, 8), 2 * 3 * 32),
    "dynamic int8 lstm": (quantised(nn.LSTM(8, 4), 5, 3, 8), 2 * 15 * 16 * 12),
    "dynamic int8 gru, both ways, two layers": (
        quantised(nn.GRU(8, 4, 2, bidirectional=True), 5, 3, 8),
        2 * 15 * 2 * 12 * (8 + 4) + 2 * 15 * 2 * 12 * (8 + 4),
    ),
    "convolution": (lambda: F.conv2d(numbers(2, 4, 9, 9), numbers(8, 4, 3, 3), stride=2), 2 * 2 * 16 * 8 * 36),
    "grouped convolution": (
        lambda: F.conv2d(numbers(2, 4, 9, 9), numbers(8, 2, 3, 3), groups=2),
        2 * 2 * 49 * 8 * 18,
    ),
    "convolution of sequences": (lambda: F.conv1d(numbers(2, 4, 9), numbers(8, 4, 3)), 2 * 2 * 7 * 8 * 12),
    "convolution of volumes": (lambda: F.conv3d(numbers(1, 2, 4, 4, 4), numbers(3, 2, 2, 2, 2)), 2 * 27 * 3 * 16),
    "transposed convolution": (
        lambda: F.conv_transpose2d(numbers(2, 4, 5, 5), numbers(4, 3, 3, 3), stride=2),
        2 * 2 * 25 * 4 * 27,
    ),
    "sdpa": (attend, 2 * PAIRS),
    "causal sdpa": (lambda: attend(causal=True, keys=T), 2 * SQUARE),
    "masked sdpa": (lambda: attend(mask=torch.ones(T, S, dtype=torch.bool)), 2 * PAIRS),
    "grouped sdpa": (lambda: attend(groups=1), 2 * PAIRS),
    "sdpa on meta": (on("meta", attend), 2 * PAIRS),
    "causal sdpa on meta": (on("meta", lambda: attend(causal=True, keys=T)), 2 * SQUARE),
    "multi-head attention": (lambda: nn.MultiheadAttention(D, H, batch_first=True)(X, X, X, need_weights=False), MHA),
    "multi-head attention, fast path": (
        without_gradients(nn.MultiheadAttention(D, H, batch_first=True), X, X, X, need_weights=False),
        MHA,
    ),
    "encoder layer, fast path": (
        without_gradients(nn.TransformerEncoderLayer(D, H, 20, batch_first=True), X),
        MHA + 2 * 2 * B * T * D * 20,
    ),
    "lstm": (lambda: nn.LSTM(D, 5)(X), 2 * B * T * 20 * (D + 5)),
    "lstm without gradients": (without_gradients(nn.LSTM(D, 5, bias=False), X), 2 * B * T * 20 * (D + 5)),
    "lstm, both ways, two layers": (
        lambda: nn.LSTM(D, 5, 2, bidirectional=True)(X),
        2 * B * T * 2 * 20 * (D + 5) + 2 * B * T * 2 * 20 * (10 + 5),
    ),
    "lstm with a projection": (lambda: nn.LSTM(D, 5, proj_size=3)(X), 2 * B * T * (20 * (D + 3) + 15)),
    "lstm of packed sequences": (
        lambda: nn.LSTM(D, 5)(nn.utils.rnn.pack_sequence([X[0], X[1, :4]])),
        2 * (T + 4) * 20 * (D + 5),
    ),
    "gru": (lambda: nn.GRU(D, 5)(X), 2 * B * T * 15 * (D + 5)),
    "rnn": (lambda: nn.RNN(D, 5)(X), 2 * B * T * 5 * (D + 5)),
    "lstm cell": (lambda: nn.LSTMCell(D, 5)(X[0]), 2 * T * 20 * (D + 5)),
    "autocast": (lambda: torch.autocast("cpu", torch.bfloat16)(nn.Linear(D, 3))(X), 2 * B * T * D * 3),
    "inference mode, linear": (under_inference(lambda: nn.Linear(D, 3)(X)), 2 * B * T * D * 3),
    "inference mode, sdpa": (under_inference(attend), 2 * PAIRS),
    "inference mode, einsum": (under_inference(lambda: torch.einsum("bij,bkj->bik", X, X)), 2 * B * T * T * D),
    "inference mode, lstm": (under_inference(lambda: nn.LSTM(D, 5)(X)), 2 * B * T * 20 * (D + 5)),
    "embedding bag": (lambda: nn.EmbeddingBag(5, 3)(torch.tensor([[1, 2], [3, 4]])), 0),
    "fourier": (lambda: torch.fft.rfft(torch.randn(3, 8)), 0),
    "cholesky": (lambda: torch.linalg.cholesky(torch.eye(3)), 0),
}


@pytest.mark.filterwarnings("ignore:Sparse CSR", "ignore:LSTM with projections")
@pytest.mark.parametrize("name", FORWARD)
def test_forward(name: str) -> None:
    run, flops = FORWARD[name]
    found = counted(run)
    assert (found.forward, found.ledger) == (flops, {})
    assert found.forward or found.vector


NOT_FAKE = ("sparse", "int8", "encoder layer", "packed", "mm of", "int mm")
"""Contents decide, or torch itself has no rule for tensors without them."""


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize("name", [n for n in FORWARD if not any(word in n for word in NOT_FAKE)])
def test_tensors_without_contents_count_alike(name: str) -> None:
    run, flops = FORWARD[name]
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        assert counted(run).forward == flops


BACKWARD: dict[str, tuple[Callable[[], Any], int, int]] = {
    "mm": (lambda: numbers(3, 4) @ numbers(4, 5), 2, 2),
    "matrix times vector": (lambda: numbers(5, 7) @ numbers(7), 1, 1),  # an outer product is vector work
    "depthwise convolution": (lambda: F.conv2d(numbers(2, 6, 8, 8), numbers(6, 1, 3, 3), groups=6, padding=1), 2, 2),
    "first convolution": (lambda: F.conv2d(torch.randn(2, 3, 8, 8), numbers(6, 3, 4, 4), stride=4), 1, 1),
    "transposed convolution": (lambda: F.conv_transpose2d(numbers(2, 4, 5, 5), numbers(4, 3, 3, 3)), 2, 2),
    "lstm": (lambda: nn.LSTM(D, 5)(numbers(B, T, D)), 2, 2),
    "einsum": (lambda: torch.einsum("bij,bkj->bik", numbers(2, 3, 4), numbers(2, 5, 4)), 2, 2),
    "baddbmm": (lambda: torch.baddbmm(numbers(1, 3, 5), numbers(2, 3, 4), numbers(2, 4, 5)), 2, 2),
}


@pytest.mark.parametrize("name", BACKWARD)
def test_backward(name: str) -> None:
    run, model, hardware = BACKWARD[name]
    found = counted(both_ways(run))
    assert found.ledger == {}
    assert found.backward == model * found.forward
    assert found.hardware == (1 + hardware) * found.forward


def test_backward_of_fused_attention_computes_scores_again() -> None:
    found = counted(both_ways(attend))
    assert (found.forward, found.backward, found.hardware) == (2 * PAIRS, 4 * PAIRS, 7 * PAIRS)


def test_backward_of_unfused_attention_does_not() -> None:
    found = counted(on("meta", both_ways(attend)))
    assert (found.forward, found.backward, found.hardware) == (2 * PAIRS, 4 * PAIRS, 6 * PAIRS)


def test_backward_of_bilinear() -> None:
    found = counted(both_ways(lambda: F.bilinear(numbers(7, 3), numbers(7, 4), numbers(5, 3, 4))))
    every = 7 * 5 * 3 * 4
    assert found.forward == 2 * every + 2 * 7 * 5 * 4
    assert found.backward > 2 * every
    assert found.ledger == {}


def test_backward_of_a_recurrent_layer_skips_the_first_state() -> None:
    """Step by step, and the first state is zeros that want no gradient of their own."""
    found = counted(both_ways(lambda: nn.RNN(D, 5)(numbers(T, B, D))))
    assert found.backward == 2 * found.forward - 2 * B * 5 * 5


def test_checkpointing_computes_all_but_the_last_product_again() -> None:
    w1, w2 = numbers(D, 20), numbers(20, D)
    found = counted(
        both_ways(lambda: checkpoint(lambda x: (x @ w1).relu() @ w2, numbers(B, T, D), use_reentrant=False))
    )
    each = 2 * B * T * D * 20
    assert (found.forward, found.backward, found.hardware) == (2 * each, 4 * each, 7 * each)


def test_ragged_batches_of_an_encoder() -> None:
    lengths = [T, 4]
    hidden = torch.arange(T) >= torch.tensor(lengths)[:, None]
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(D, H, 20, batch_first=True), 1)
    with deprecations_ignored():
        found = counted(without_gradients(encoder, X, src_key_padding_mask=hidden))
    real = sum(lengths)
    assert found.ledger == {}
    assert found.forward == real * (8 * D * D + 4 * D * 20) + 4 * B * T * T * D


UNKNOWN: dict[str, tuple[Callable[[], Any], str]] = {
    "eigenvalues": (lambda: torch.linalg.eigvalsh(torch.eye(3)), "aten._linalg_eigh"),
    "singular values": (lambda: torch.linalg.svdvals(torch.eye(3)), "aten._linalg_svd"),
    "product of two sparse matrices": (
        lambda: torch.sparse.mm(torch.eye(6).to_sparse(), torch.eye(6).to_sparse()),
        "aten._sparse_sparse_matmul",
    ),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_has_no_formula_is_in_the_ledger(name: str) -> None:
    run, operation = UNKNOWN[name]
    assert counted(run).ledger[operation] == 1


def test_an_operation_of_somebody_elses_is_in_the_ledger() -> None:
    @torch.library.custom_op("patchword_tests::odd", mutates_args=())
    def odd(x: Tensor) -> Tensor:
        return x @ x

    assert counted(lambda: odd(torch.randn(3, 3))).ledger == {"patchword_tests.odd": 1}
