"""Where what stands for a kernel of torch gives other types than the kernel on a CPU does (seen in torch 2.13)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

aten: Any = torch.ops.aten

Mend = Callable[[Any, Any], Any]
"""Arguments and result of an operation to what its kernel gives."""


def run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """What stands for an operation's kernel, with the types that the kernel gives; where nothing does, its input."""
    return args[0] if func in _MISSING else _mended(func, args, func(*args, **kwargs))


def _mended(func: Any, args: Any, out: Any) -> Any:
    mend = _MENDS.get(func.overloadpacket)
    return out if mend is None else mend(args, out)


def _statistics(args: Any, out: Any) -> Any:
    """Norms over narrow numbers with wide gains (autocast) keep mean and deviation wide."""
    x, gain = args[0], next((a for a in args[1:4] if isinstance(a, Tensor)), None)
    if gain is None or gain.dtype == x.dtype:
        return out
    return (out[0], *(t.to(gain.dtype) for t in out[1:]))


def _as_the_gradient(args: Any, out: Any) -> Any:
    """The gradient of a group norm's input is of the input's type."""
    return (None if out[0] is None else out[0].to(args[1].dtype), *out[1:])


_MISSING = frozenset({aten.exponential_.default})
"""Operations in place that nothing stands for (with a generator)."""

_MENDS: dict[Any, Mend] = {
    aten.native_layer_norm: _statistics,
    aten.native_group_norm: _statistics,
    aten.native_batch_norm: _statistics,
    aten.native_group_norm_backward: _as_the_gradient,
}
