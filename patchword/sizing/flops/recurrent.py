"""Recurrent layers that run as one kernel. Each token meets every weight once; biases and gates are vector work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from patchword.sizing.flops.registry import Call, aten, formula, numel, products
from patchword.sizing.tracing.record import Work

_EACH = 10
"""FLOPs of gates and state, for each number of the state: four sigmoids or tanhs, three products, two sums, a tanh."""


def _layer(x: Any, weights: Sequence[Any], state: int, passes: int) -> Work:
    """x [T, B, I] or [tokens, I]; `passes`: one forward, one a gradient. `state`: numbers that are made a token."""
    tokens = x.numel() // max(x.shape[-1], 1)
    maps = sum(weight.numel() for weight in weights if weight.dim() == 2)
    return products(2 * passes * tokens * maps, passes * tokens * _EACH * state)


@formula(aten.mkldnn_rnn_layer)
def _on_cpu(call: Call) -> Work:
    return _layer(call["input"], (call["weight0"], call["weight1"]), call["hidden_size"], 1)


@formula(aten.mkldnn_rnn_layer_backward)
def _on_cpu_backward(call: Call) -> Work:
    """The kernel makes gradients of inputs and of weights, whether all are wanted or not."""
    return _layer(call["input"], (call["weight1"], call["weight2"]), call["hidden_size"], 2)


@formula(aten._cudnn_rnn, aten.miopen_rnn)
def _on_gpu(call: Call) -> Work:
    return _layer(call["input"], call["weight"], _state(call), 1)


@formula(aten._cudnn_rnn_backward, aten.miopen_rnn_backward)
def _on_gpu_backward(call: Call) -> Work:
    return _layer(call["input"], call["weight"], _state(call), 1 + bool(call["output_mask"][3]))


def _state(call: Call) -> int:
    return call["hidden_size"] * call["num_layers"] * (2 if call["bidirectional"] else 1)


@formula(aten._thnn_fused_lstm_cell, aten._thnn_fused_gru_cell)
def _cell(call: Call) -> Work:
    return Work(vector=_EACH * call.out[0].numel())


@formula(aten._thnn_fused_lstm_cell_backward_impl, aten._thnn_fused_gru_cell_backward)
def _cell_backward(call: Call) -> Work:
    return Work(vector=2 * numel(call.out))


@formula(aten.quantized_lstm)
def _quantised_lstm(call: Call) -> Work:
    return _quantised(call, call["hx"][0].shape[-1], 4)


@formula(aten.quantized_gru)
def _quantised_gru(call: Call) -> Work:
    return _quantised(call, call["hx"].shape[-1], 3)


def _quantised(call: Call, hidden: int, gates: int) -> Work:
    """Weights are packed, so their shapes are put together again."""
    x = call["input" if "input" in call else "data"]
    ways, tokens, width, maps = (2 if call["bidirectional"] else 1), x.numel() // max(x.shape[-1], 1), x.shape[-1], 0
    for _ in range(call["num_layers"]):
        maps += ways * gates * hidden * (width + hidden)
        width = ways * hidden
    return products(2 * tokens * maps, tokens * _EACH * hidden * ways * call["num_layers"])
