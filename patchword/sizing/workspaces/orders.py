"""Sorting and drawing."""

from __future__ import annotations

import torch
from torch import Tensor

from patchword.sizing.flops.registry import Call
from patchword.sizing.workspaces.registry import aten, rule, size


@rule(aten.multinomial)
def _drawn(call: Call) -> int:
    """Without replacement one exponential a weight is drawn; with it, the sums of one row are held."""
    weights: Tensor = call["self"]
    if call["replacement"]:
        return weights.shape[-1] * weights.element_size()
    return size(weights) + 64


@rule(aten.sort)
def _sorted(call: Call) -> int:
    """Places of one row, a thread."""
    x: Tensor = call["self"]
    return 8 * x.shape[call["dim"]] * torch.get_num_threads() if x.dim() else 0


@rule(aten.index)
def _index(call: Call) -> int:
    """The places that a mask holds."""
    return _places(call["indices"])


@rule(aten.index_put, aten.index_put_, aten._index_put_impl_)
def _index_put(call: Call) -> int:
    return _places(call["indices"])


def _places(indices: list[Tensor | None]) -> int:
    return sum(8 * i.numel() * i.dim() for i in indices if i is not None and i.dtype.is_signed is False)
