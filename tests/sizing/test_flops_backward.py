"""Backward passes, exactly: gradients that are wanted, and what kernels and checkpoints compute again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from tests.sizing.counting import counted
from tests.sizing.zoo import PAIRS, B, D, T, attend, both_ways, numbers, on

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
