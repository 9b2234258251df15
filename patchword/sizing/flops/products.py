"""Products of matrices, in all their spellings."""

from __future__ import annotations

from patchword.sizing.flops.registry import Call, aten, formula, products
from patchword.sizing.record import Work


@formula(aten.mm, aten.bmm, aten.mv, aten.dot, aten.vdot)
def _product(call: Call) -> Work:
    return products(2 * call.out.numel() * call.args[0].shape[-1])


@formula(aten.addmm, aten.baddbmm, aten.addmv, aten.baddbmm_, aten.addmm_)
def _added_product(call: Call) -> Work:
    return products(2 * call.out.numel() * call.args[1].shape[-1], vector=call.out.numel())


@formula(aten.linear)
def _linear(call: Call) -> Work:
    bias = call["bias"] is not None
    return products(2 * call.out.numel() * call.args[0].shape[-1], vector=call.out.numel() if bias else 0)


@formula(aten._grouped_mm)
def _grouped(call: Call) -> Work:
    return products(2 * call.args[0].shape[0] * call.args[0].shape[-1] * call.args[1].shape[-1])


@formula(aten._cdist_forward)
def _distances(call: Call) -> Work:
    return Work(vector=3 * call.out.numel() * call.args[0].shape[-1])
