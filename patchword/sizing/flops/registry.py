"""Where formulas are entered and found: the work of one dispatched operation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from patchword.sizing.flops.moves import MOVED, TRANSPORTS
from patchword.sizing.tracing.dispatched import tensors_in
from patchword.sizing.tracing.record import Work

aten: Any = torch.ops.aten


@dataclass(frozen=True, slots=True)
class Call:
    """One operation as it was dispatched."""

    func: Any
    args: Sequence[Any]
    kwargs: dict[str, Any]
    out: Any

    def __getitem__(self, name: str) -> Any:
        """An argument by the name that the operation's schema gives it, wherever it stands."""
        place, default = _arguments(self.func)[name]
        return self.args[place] if len(self.args) > place else self.kwargs.get(name, default)

    def __contains__(self, name: object) -> bool:
        """Whether the operation has an argument of this name."""
        return name in _arguments(self.func)


@cache
def _arguments(func: Any) -> dict[str, tuple[int, Any]]:
    """Where each argument stands, and what it is if not given."""
    return {a.name: (i, a.default_value) for i, a in enumerate(func._schema.arguments)}


Formula = Callable[[Call], Work]

FORMULAS: dict[Any, Formula] = {}


def work_of(func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> Work:
    """The work of one dispatched operation; unknown where no formula stands for it and it makes real numbers."""
    packet = getattr(func, "overloadpacket", func)  # an operator that takes functions has no overloads
    formula = FORMULAS.get(packet)
    if formula is not None:
        return formula(Call(func, args, kwargs, out))
    if packet is func:
        return Work(known=not _holds_numbers(out))
    name = str(packet).removeprefix("aten.")
    if func.is_view or name in MOVED or func.namespace in TRANSPORTS:
        return Work()
    made = (args, kwargs, out) if func._schema.is_mutable else out  # what is written over is made, too
    if not _holds_numbers(made):
        return Work()
    if name.startswith("_foreach"):
        return Work(vector=total(args[0]))
    if torch.Tag.pointwise in func.tags:
        return Work(vector=numel(out))
    if torch.Tag.reduction in func.tags:
        return Work(vector=max(numel(args), numel(out)))
    return Work(known=False)


def _holds_numbers(tree: Any) -> bool:
    return any(leaf.is_floating_point() or leaf.is_complex() or leaf.is_quantized for leaf in tensors(tree))


def tensors(tree: Any) -> Iterable[Tensor]:
    """The tensors among arguments."""
    return tensors_in(tree)


def numel(tree: Any) -> int:
    """Numbers in the largest tensor."""
    return max((leaf.numel() for leaf in tensors(tree)), default=0)


def total(tree: Any) -> int:
    """Numbers in all tensors."""
    return sum(leaf.numel() for leaf in tensors(tree))


def products(flops: int, vector: int = 0) -> Work:
    """Products of which the kernel computes as many as the definition asks for."""
    return Work(flops, flops, vector)


def formula(*packets: Any) -> Callable[[Formula], Formula]:
    """Enter a formula for these operations."""

    def enter(function: Formula) -> Formula:
        for packet in packets:
            FORMULAS[packet] = function
        return function

    return enter


def named(namespace: Any, names: str) -> list[Any]:
    """The operations of these names that this build of torch has."""
    return [getattr(namespace, name) for name in names.split() if hasattr(namespace, name)]
