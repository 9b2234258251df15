"""What makes an operation distinct for its time: which it is, and the shapes, strides and types of what it is given."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

TENSOR, NAMED = "T", "N"
"""Marks of a tensor [mark, dtype, shape, stride] and of a thing with a name [mark, kind, name]."""

_NAMED = {
    torch.dtype: "dtype",
    torch.layout: "layout",
    torch.memory_format: "memory_format",
    torch.device: "device",
}


def signature_of(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> str:
    """One line of JSON [overload, args, kwargs]: equal for calls that take equally long, and enough to remake one."""
    return json.dumps([str(func), _plain(args), {k: _plain(v) for k, v in kwargs.items()}], separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return [TENSOR, str(value.dtype)[6:], list(value.shape), list(value.stride())]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return {"list": [_plain(item) for item in value]}
    kind = _NAMED.get(type(value))
    return [NAMED, kind, str(value).removeprefix("torch.")] if kind else [NAMED, "unknown", repr(value)]
