"""Convolutions, with groups, strides and transposed."""

from __future__ import annotations

from math import prod
from typing import Any

from patchword.sizing.flops.registry import Call, aten, formula
from patchword.sizing.record import Work


def _convolution_pairs(small: Any, weight: Any) -> int:
    """Products of one number with one weight: each place of the map without stride meets each weight of its group."""
    return small.shape[0] * prod(small.shape[2:]) * weight.numel()


@formula(aten.convolution, aten._convolution, aten.mkldnn_convolution, aten.cudnn_convolution)
def _convolution(call: Call) -> Work:
    x, weight, bias, transposed = call.args[0], call.args[1], call.args[2], call.args[6]
    pairs = _convolution_pairs(x if transposed else call.out, weight)
    return Work(matmul=2 * pairs, vector=call.out.numel() if bias is not None else 0)


@formula(aten.convolution_backward)
def _convolution_backward(call: Call) -> Work:
    grad, x, weight, transposed, mask = call.args[0], call.args[1], call.args[2], call.args[7], call.args[10]
    pairs = _convolution_pairs(x if transposed else grad, weight)
    return Work(matmul=2 * pairs * (bool(mask[0]) + bool(mask[1])), vector=grad.numel() if mask[2] else 0)
