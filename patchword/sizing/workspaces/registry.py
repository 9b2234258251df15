"""Where rules about what kernels take inside are entered and found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from patchword.sizing.flops.registry import Call
from patchword.sizing.tracing.dispatched import tensors_in

aten: Any = torch.ops.aten


class Inside(NamedTuple):
    """Bytes that a kernel takes beyond its inputs and outputs, at the most."""

    tensors: int = 0
    """From torch's allocator, so that a profiler sees them."""
    library: int = 0
    """oneDNN's description of the work, which it makes and drops with each call; no profiler sees it."""


Rule = Callable[[Call], int | Inside]
"""A number is bytes of tensors."""

RULES: dict[Any, Rule] = {}
RESERVES: dict[Any, Callable[[Call], int]] = {}
GENERAL: list[Callable[[Call], int | None]] = []
"""For operations without a rule of their own; the first that answers is asked."""

_UNKNOWN = ("aten.fft_", "aten._fft", "aten.linalg_", "aten._linalg", "aten._conv_depthwise", "aten._trilinear")
_KNOWN = frozenset(("aten.linalg_vector_norm",))


def rule(*packets: Any) -> Callable[[Rule], Rule]:
    """Enter a rule for these operations."""

    def enter(function: Rule) -> Rule:
        for packet in packets:
            RULES[packet] = function
        return function

    return enter


def workspace_of(func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> Inside | None:
    """Bytes that the CPU kernel of one dispatched operation takes inside itself; None: it takes some, unknown how many.

    What has no rule takes none.
    """
    if func.is_view:
        return Inside()
    packet = func.overloadpacket
    call = Call(func, args, kwargs, out)
    found = RULES.get(packet)
    if found is not None:
        inside = found(call)
        return inside if isinstance(inside, Inside) else Inside(inside)
    name = str(packet)
    if name.startswith(_UNKNOWN) and name not in _KNOWN:
        return None
    return Inside(next((size for ask in GENERAL if (size := ask(call)) is not None), 0))


def reserve_of(func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> tuple[Tensor, int] | None:
    """An output whose size only the kernel knows, and its bytes; it has none where tensors have no contents."""
    found = RESERVES.get(func.overloadpacket)
    return None if found is None else (out[-1], found(Call(func, args, kwargs, out)))


def size(tensor: Tensor | None) -> int:
    """Bytes of a tensor's numbers."""
    return 0 if tensor is None else tensor.numel() * tensor.element_size()


def copied(*tensors: Tensor | None) -> int:
    """Bytes of the copies of those that do not lie in one piece."""
    return sum(size(t) for t in tensors if t is not None and not t.is_contiguous())


def inputs(call: Call) -> list[Tensor]:
    """All tensors that it reads."""
    return tensors_in((call.args, call.kwargs))


def up(number: int, step: int) -> int:
    """To the next multiple."""
    return -(-number // step) * step


def volume(shape: Sequence[int]) -> int:
    """Product of sides."""
    return prod(shape)
