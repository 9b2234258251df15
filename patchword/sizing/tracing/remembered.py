"""Operations on tensors without contents, remembered: blocks that are alike ask the same again and again.

torch's own stand-ins find a result anew, or in a cache whose keys take longer to make than all else that is done here.
A view is made by torch's kernel for shapes, and of what makes tensors of its own only their shapes are kept.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, in_kernel_invocation_manager

from patchword.sizing.tracing import stand_ins
from patchword.sizing.tracing.dispatched import tensors_in

aten: Any = torch.ops.aten

_CPU = torch.device("cpu")
_NEVER = frozenset({aten._unsafe_view.default, aten._reshape_alias.default, aten.lift_fresh.default, aten.lift.default})
_UNLIKE = (torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape, torch.Tag.inplace_view)


class Made(NamedTuple):
    """A tensor that an operation makes."""

    shape: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype


class Remembered:
    """Runs operations in a mode of tensors without contents.

    Args:
        mode: the mode; it is at work around this.
    """

    def __init__(self, mode: FakeTensorMode) -> None:
        self.mode = mode
        self._known: dict[Hashable, tuple[type | None, tuple[Made | None, ...]]] = {}

    def run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """`func(*args, **kwargs)`, none of whose tensors has contents."""
        if _writes_over(func) and all(type(t) is FakeTensor and t.constant is None for t in tensors_in((args, kwargs))):
            return args[0] if func._schema.returns else None
        if not _is_usual(func):
            return stand_ins.run(func, args, kwargs)
        if func.is_view:
            return self._view(func, args, kwargs)
        key = _key((func, args, tuple(kwargs.items()) if kwargs else ()))
        found = self._known.get(key) if key is not None else None
        if found is None:
            out = stand_ins.run(func, args, kwargs)
            if key is not None:
                self._learn(key, (args, kwargs), out)
            return out
        kind, made = found
        with in_kernel_invocation_manager(self.mode):
            blanks = [None if m is None else torch.empty_strided(*m[:2], dtype=m.dtype, device="meta") for m in made]
        new = [None if blank is None else FakeTensor(self.mode, blank, _CPU) for blank in blanks]
        return new[0] if kind is None else kind(new)

    def _view(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if any(type(t) is not FakeTensor or t.constant is not None for t in tensors_in((args, kwargs))):
            return stand_ins.run(func, args, kwargs)
        with in_kernel_invocation_manager(self.mode):
            out = func(*args, **kwargs)
        if isinstance(out, Tensor):
            return FakeTensor(self.mode, out, _CPU)
        return type(out)(FakeTensor(self.mode, t, _CPU) for t in out)

    def _learn(self, key: Hashable, given: Any, out: Any) -> None:
        """Keep the shapes of a result whose tensors are new, lie in one piece of their own and nothing else."""
        single = isinstance(out, Tensor)
        if not single and type(out) not in (tuple, list):
            return
        every = [out] if single else list(out)
        if not all(t is None or (type(t) is FakeTensor and _fills_its_storage(t)) for t in every):
            return
        storages = [t.untyped_storage()._cdata for t in every if t is not None]
        old = {t.untyped_storage()._cdata for t in tensors_in(given)}
        if len(set(storages)) == len(storages) and old.isdisjoint(storages):
            made = tuple(None if t is None else Made(t.shape, t.stride(), t.dtype) for t in every)
            self._known[key] = (None if single else type(out), made)


@cache
def _writes_over(func: Any) -> bool:
    """Whether an operation writes over its first arguments, whose shapes stay, and gives nothing else."""
    if not isinstance(func, torch._ops.OpOverload) or func.namespace != "aten" or not func._schema.is_mutable:
        return False
    resizes = torch.Tag.inplace_view in func.tags or func.overloadpacket in (aten.resize_, aten.resize_as_, aten.set_)
    in_place = func._schema.name.endswith("_") and func._schema.arguments[0].is_write
    returns = func._schema.returns
    itself = not returns or (len(returns) == 1 and returns[0].alias_info is not None)
    return in_place and itself and not resizes


@cache
def _is_usual(func: Any) -> bool:
    """Whether what an operation gives follows from the shapes it is given, and it changes none of them."""
    if not isinstance(func, torch._ops.OpOverload) or func.namespace != "aten" or func in _NEVER:
        return False
    composite = torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")
    return not func._schema.is_mutable and not composite and not any(tag in func.tags for tag in _UNLIKE)


def _fills_its_storage(tensor: Tensor) -> bool:
    if tensor.layout != torch.strided or tensor.storage_offset() or tensor.device != _CPU:
        return False
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    numbers = last + 1 if tensor.numel() else 0
    return tensor.untyped_storage().nbytes() == numbers * tensor.element_size()


def _key(value: Any) -> Hashable:
    """What decides the shapes of a result; None: it is not known."""
    if isinstance(value, Tensor):
        usual = type(value) is FakeTensor and value.constant is None and value.layout == torch.strided
        return (value.dtype, value.shape, value.stride()) if usual else None
    if isinstance(value, list | tuple):
        parts = []
        for item in value:
            part = _key(item)
            if part is None:
                return None
            parts.append(part)
        return (list, *parts)
    if isinstance(value, torch.Generator):
        return None
    return (type(value), value)
