"""Operations that counters are known to miss: each has its exact count here, or stands in the ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.sizing.counting import counted
from tests.sizing.zoo import (
    MHA,
    PAIRS,
    SQUARE,
    B,
    D,
    H,
    S,
    T,
    X,
    aten,
    attend,
    deprecations_ignored,
    numbers,
    on,
    quantised,
    under_inference,
    without_gradients,
)

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
