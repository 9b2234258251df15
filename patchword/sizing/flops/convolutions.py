"""Convolutions, with groups, strides and transposed."""

from __future__ import annotations

from math import prod
from typing import Any

from patchword.sizing.flops.registry import Call, aten, formula, products
from patchword.sizing.tracing.record import Work


def _pairs(small: Any, weight: Any) -> int:
    """Products of one number with one weight: each place of the map without stride meets each weight of its group."""
    return small.shape[0] * prod(small.shape[2:]) * weight.numel()


@formula(
    aten.convolution,
    aten._convolution,
    aten.convolution_overrideable,
    aten.mkldnn_convolution,
    aten.cudnn_convolution,
    aten.miopen_convolution,
)
def _convolution(call: Call) -> Work:
    x, weight = call.args[:2]
    transposed = "transposed" in call and call["transposed"]
    bias = "bias" in call and call["bias"] is not None
    return products(2 * _pairs(x if transposed else call.out, weight), call.out.numel() if bias else 0)


@formula(aten.cudnn_convolution_transpose)
def _transposed(call: Call) -> Work:
    return products(2 * _pairs(*call.args[:2]))


@formula(aten.convolution_backward)
def _convolution_backward(call: Call) -> Work:
    grad, x, weight, wanted = call["grad_output"], call["input"], call["weight"], call["output_mask"]
    pairs = _pairs(x if call["transposed"] else grad, weight)
    return products(2 * pairs * (bool(wanted[0]) + bool(wanted[1])), grad.numel() if wanted[2] else 0)
