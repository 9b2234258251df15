"""Products of numbers of few bits: counted as any others."""

from __future__ import annotations

from typing import Any

import torch

from patchword.sizing.flops.registry import Call, aten, formula, named, products
from patchword.sizing.tracing.record import Work

_ops: Any = torch.ops


@formula(
    *named(
        _ops.quantized,
        "linear linear_relu linear_leaky_relu linear_tanh linear_dynamic linear_relu_dynamic linear_dynamic_fp16 "
        "linear_relu_dynamic_fp16 linear_with_input_q_dq_qweight_dq_output_fp32 "
        "linear_with_input_q_dq_qweight_dq_relu_output_fp32 int4mm_packed_weight_cpu",
    ),
    *named(_ops.onednn, "qlinear_pointwise linear_dynamic_fp16 linear_relu_dynamic_fp16"),
    *named(_ops.mkldnn, "_linear_pointwise"),
    *named(_ops.mkl, "_mkl_linear"),
    *named(
        aten,
        "_scaled_mm _scaled_mm_v2 _weight_int8pack_mm _weight_int4pack_mm _weight_int4pack_mm_for_cpu "
        "_weight_int4pack_mm_with_scales_and_zeros _dyn_quant_matmul_4bit fbgemm_linear_fp16_weight "
        "fbgemm_linear_int8_weight fbgemm_linear_fp16_weight_fp32_activation fbgemm_linear_int8_weight_fp32_activation",
    ),
)
def _linear(call: Call) -> Work:
    """The first is what is multiplied, [..., K]."""
    return products(2 * call.out.numel() * call.args[0].shape[-1], call.out.numel())


@formula(*named(_ops.quantized, "conv1d conv1d_relu conv2d conv2d_relu conv3d conv3d_relu"))
def _convolution(call: Call) -> Work:
    weight = call.args[1].unpack()[0]
    places = call.out.numel() // max(call.out.shape[1], 1)
    return products(2 * places * weight.numel(), call.out.numel())


@formula(
    *named(_ops.onednn, "qconv_pointwise qconv1d_pointwise qconv2d_pointwise qconv3d_pointwise"),
    *named(_ops.mkldnn, "_convolution_pointwise"),
)
def _compiled_convolution(call: Call) -> Work:
    weight = call["qw" if "qw" in call else "W"]
    if weight.layout != torch.strided:  # blocked, with its own shape
        return Work(known=False)
    return products(2 * (call.out.numel() // max(call.out.shape[1], 1)) * weight.numel(), call.out.numel())


@formula(*named(_ops.quantized, "quantized_lstm_cell_dynamic quantized_gru_cell_dynamic"))
def _cell(call: Call) -> Work:
    return _one_step(call, 4 if isinstance(call["hx"], (list, tuple)) else 3)


@formula(*named(_ops.quantized, "quantized_rnn_relu_cell_dynamic quantized_rnn_tanh_cell_dynamic"))
def _plain_cell(call: Call) -> Work:
    return _one_step(call, 1)


def _one_step(call: Call, gates: int) -> Work:
    x, hidden = call["input"], call["hx"]
    state = hidden[0] if isinstance(hidden, (list, tuple)) else hidden
    return products(2 * gates * state.numel() * (x.shape[-1] + state.shape[-1]), 10 * state.numel())
