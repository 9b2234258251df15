"""Norms: gradients of gains and offsets are summed by each thread on its own."""

from __future__ import annotations

import torch

from patchword.sizing.flops.registry import Call
from patchword.sizing.workspaces.registry import aten, copied, rule, size, volume


@rule(aten.native_layer_norm)
def _layer_norm(call: Call) -> int:
    return copied(call["input"])


@rule(aten.native_layer_norm_backward)
def _layer_norm_backward(call: Call) -> int:
    width = volume(call["normalized_shape"])
    sums = 2 * torch.get_num_threads() * width * call["input"].element_size()
    return copied(call["grad_out"], call["input"]) + (sums if any(call["output_mask"][1:]) else 0)


@rule(aten.native_group_norm)
def _group_norm(call: Call) -> int:
    return copied(call["input"])


@rule(aten.native_group_norm_backward)
def _group_norm_backward(call: Call) -> int:
    return copied(call["grad_out"], call["input"]) + 2 * call["N"] * call["C"] * 4


@rule(aten.native_batch_norm)
def _batch_norm(call: Call) -> int:
    return 3 * 4 * call["input"].shape[1]


@rule(aten.native_batch_norm_backward)
def _batch_norm_backward(call: Call) -> int:
    return size(call["input"])
