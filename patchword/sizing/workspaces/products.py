"""Products of matrices: what the library cannot read where it lies is copied; bf16 is laid out anew by oneDNN."""

from __future__ import annotations

import torch
from torch import Tensor

from patchword.sizing.flops.registry import Call
from patchword.sizing.workspaces.registry import Inside, aten, rule, size, up

_DESCRIPTION = 18_336  # bytes of oneDNN's description of a bf16 product
_FIXED = 1_024  # of its buffers
_ROWS, _DEPTH = 256, 512  # most rows and columns of a strip


def _readable(matrix: Tensor) -> bool:
    """Whether rows or columns lie in one piece each, one after the other."""
    rows, columns = matrix.shape[-2:]
    down, across = matrix.stride()[-2:]
    return (across == 1 and down >= max(columns, 1)) or (down == 1 and across >= max(rows, 1))


def _copies(*matrices: Tensor) -> int:
    return sum(size(m) for m in matrices if not _readable(m))


def _strip(rows: int) -> int:
    """The most rows that fit into the whole matrix a whole number of times."""
    few = -(-rows // _ROWS)
    return next((rows // n for n in range(few, 4 * few) if rows % n == 0), -(-rows // few))


def _laid_out(left: Tensor, right: Tensor) -> int:
    """oneDNN's strips of left and right matrix, and its copy of a left one that lies by columns."""
    if left.dtype != torch.bfloat16 or left.numel() * right.numel() == 0:
        return 0
    rows, depth = left.shape[-2:]
    strip = _strip(rows)
    deep = min(up(depth, 32), _DEPTH)
    if left.stride(-1) == 1:
        return _FIXED + 128 * deep + 256 * strip
    sums = 4 * strip * (right.shape[-1] if depth > _DEPTH else 64)
    return _FIXED + 128 + 128 * deep + sums + 2 * strip * (deep + 32 * (deep == _DEPTH))


def _inside(left: Tensor, right: Tensor, copies: int) -> Inside:
    buffers = _laid_out(left, right)
    return Inside(copies + buffers, _DESCRIPTION if buffers else 0)


@rule(aten.mm)
def _product(call: Call) -> Inside:
    left, right = call.args[:2]
    return _inside(left, right, _copies(left, right))


@rule(aten.addmm, aten.addmm_)
def _added_product(call: Call) -> Inside:
    left, right = call.args[1:3]
    return _inside(left, right, _copies(left, right))


@rule(aten.bmm)
def _products(call: Call) -> Inside:
    left, right = call.args[:2]
    return _inside(left, right, _one_copy(left, right))


@rule(aten.baddbmm, aten.baddbmm_)
def _added_products(call: Call) -> Inside:
    left, right = call.args[1:3]
    return _inside(left, right, _one_copy(left, right))


def _one_copy(*stacks: Tensor) -> int:
    """One matrix of many at a time."""
    return sum(size(m) // max(m.shape[0], 1) for m in stacks if not _readable(m))
