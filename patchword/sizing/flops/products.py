"""Products of matrices, in all their spellings."""

from __future__ import annotations

from math import prod
from typing import Any

import torch

from patchword.sizing.flops.registry import Call, aten, formula, named, products
from patchword.sizing.tracing.record import Work


def _pair(x: Any) -> int:
    """FLOPs of a multiplication and an addition: of complex numbers, four of each."""
    return 8 if x.is_complex() else 2


@formula(aten.mm, aten.bmm, aten.mv, aten.dot, aten.vdot, aten._int_mm)
def _product(call: Call) -> Work:
    a, b = call.args
    if not a.layout == b.layout == torch.strided:
        return _sparse(a, b)
    return products(_pair(call.out) * call.out.numel() * a.shape[-1])


@formula(
    aten.addmm,
    aten.addmm_,
    aten._addmm_activation,
    aten.baddbmm,
    aten.baddbmm_,
    aten.addmv,
    aten.addmv_,
)
def _added_product(call: Call) -> Work:
    a, b = call.args[1:3]
    if not a.layout == b.layout == torch.strided:
        return _sparse(a, b)
    return products(_pair(call.out) * call.out.numel() * call.args[1].shape[-1], call.out.numel())


@formula(aten.addbmm, aten.addbmm_)
def _added_products(call: Call) -> Work:
    batch, _, inner = call["batch1"].shape
    return products(_pair(call.out) * call.out.numel() * batch * inner, call.out.numel())


@formula(aten.linear, aten.mkldnn_linear, *named(aten, "_mixed_dtypes_linear _sparse_semi_structured_linear"))
def _linear(call: Call) -> Work:
    bias = call["bias"] is not None
    return products(2 * call.out.numel() * call.args[0].shape[-1], call.out.numel() if bias else 0)


@formula(aten.linear_backward)
def _linear_backward(call: Call) -> Work:
    grad, weight, wanted = call["grad_output"], call["weight"], call["output_mask"]
    each = 2 * grad.numel() * weight.shape[-1]
    return products(each * (bool(wanted[0]) + bool(wanted[1])), grad.numel() if wanted[2] else 0)


@formula(*named(aten, "mkldnn_linear_backward_input mkldnn_linear_backward_weights"))
def _one_of_linear_backward(call: Call) -> Work:
    grad, other = call["grad_output"], call["weight" if "weight" in call else "input"]
    return products(2 * grad.numel() * other.shape[-1])


@formula(aten._grouped_mm, *named(aten, "_scaled_grouped_mm _scaled_grouped_mm_v2"))
def _grouped(call: Call) -> Work:
    """Groups of rows, of columns or of the inner width, of matrices that stand one after another; or a batch."""
    a, b = call["self"], call["mat2"]
    batch = a.shape[0] if a.dim() == b.dim() == 3 else 1
    return products(2 * batch * prod(a.shape[-2:]) * b.shape[-1])


@formula(aten._trilinear)
def _trilinear(call: Call) -> Work:
    """Sum over some dimensions of a b c: first a b, summed over those that c lacks, then that by c."""
    shapes = []
    for name in "123":
        shape = list(call[f"i{name}"].shape)
        for at in sorted(call[f"expand{name}"]):
            shape.insert(at, 0)
        shapes.append(shape)
    sizes = [max(of) for of in zip(*shapes, strict=True)]
    summed = set(call["sumdim"])
    first = [d for d in range(len(sizes)) if shapes[0][d] or shapes[1][d]]
    second = [d for d in range(len(sizes)) if shapes[2][d] or (d in first and d not in summed)]
    return products(2 * prod(sizes[d] for d in first) + 2 * prod(sizes[d] for d in second))


@formula(aten._sparse_mm, aten._sparse_addmm, aten.sspaddmm, aten.hspmm)
def _sparse_product(call: Call) -> Work:
    return _sparse(*call.args[-2:])


def _sparse(a: Any, b: Any) -> Work:
    """Each number that is there meets a row of the dense matrix; two sparse ones: unknown."""
    if a.layout == torch.strided or b.layout != torch.strided or a.layout in _IN_BLOCKS:
        return Work(known=False)
    return products(_pair(b) * a._nnz() * (b.shape[-1] if b.dim() > 1 else 1))


_IN_BLOCKS = (torch.sparse_bsr, torch.sparse_bsc)


@formula(aten._euclidean_dist)
def _euclidean(call: Call) -> Work:
    """One product: of (-2 x, |x|^2, 1) and (y, 1, |y|^2)."""
    x, y = call.args
    return products(2 * call.out.numel() * (x.shape[-1] + 2), 3 * (x.numel() + y.numel()) + 2 * call.out.numel())


@formula(aten._cdist_forward)
def _distances(call: Call) -> Work:
    return Work(vector=3 * call.out.numel() * call.args[0].shape[-1])


@formula(aten._cdist_backward)
def _distances_backward(call: Call) -> Work:
    return Work(vector=4 * call["cdist"].numel() * call["x1"].shape[-1])
