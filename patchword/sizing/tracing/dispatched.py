"""What a dispatch mode is given: operators, and operators of operators."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._ops import HigherOrderOperator
from torch.nn.attention import flex_attention


def name_of(func: Any) -> str:
    """aten's own, `aten.addmm`; of an operator that takes functions, `higher_order.flex_attention`."""
    return f"higher_order.{func.name()}" if isinstance(func, HigherOrderOperator) else str(func.overloadpacket)


def is_view(func: Any) -> bool:
    """Whether it makes no tensor of its own."""
    return not isinstance(func, HigherOrderOperator) and func.is_view


def is_ordinary(func: Any, tree: Any) -> bool:
    """Whether it is an operator on dense tensors of one shape each."""
    return not isinstance(func, HigherOrderOperator) and all(
        tensor.layout == torch.strided and not tensor.is_nested for tensor in tensors_in(tree)
    )


@cache
def is_composite(func: Any) -> bool:
    """Whether it is nothing but others, which are dispatched in its place; inference mode hands such ones on whole."""
    if isinstance(func, HigherOrderOperator) or func.namespace != "aten":
        return False
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    return has(func.name(), "CompositeImplicitAutograd") and not has(func.name(), "CPU")


def parts_of(tensor: Tensor) -> list[Tensor]:
    """The dense tensors that a sparse one is made of; none of a layout that hides them."""
    if tensor.layout == torch.sparse_coo:
        return [tensor._indices(), tensor._values()]
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
    if tensor.layout in (torch.sparse_csc, torch.sparse_bsc):
        return [tensor.ccol_indices(), tensor.row_indices(), tensor.values()]
    return []


def tensors_in(tree: Any) -> list[Tensor]:
    """The tensors among arguments, in order; lists, tuples and dicts are all that arguments are made of.

    torch's own walk knows more kinds and takes longer than all else that is done for an operation.
    """
    if isinstance(tree, Tensor):
        return [tree]
    found: list[Tensor] = []
    for item in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list | tuple) else ():
        if isinstance(item, Tensor):
            found.append(item)
        elif isinstance(item, list | tuple | dict):
            found += tensors_in(item)
    return found


def uncompiled_flex(want: bool) -> bool:
    """Whether FlexAttention runs as it is: it compiles itself otherwise, which no mode may watch. Returns what was."""
    before = flex_attention._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG
    flex_attention._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG = want
    return before
