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
    """One line of JSON [overload, args, kwargs]: equal for calls that take equally long, and enough to remake one.

    Empty for a mark that is there for profilers alone.
    """
    if func.namespace == "profiler":
        return ""
    return _line(str(func), _plain(args), {k: _plain(v) for k, v in kwargs.items()})


def single(signature: str) -> list[str]:
    """An operation on lists of tensors (optimizers') as one a tensor: it goes through them in turn.

    Models of other depth then share their parts. Any other operation is left as it is.
    """
    if "._foreach_" not in signature[:40] and "._fused_" not in signature[:40]:
        return [signature]
    name, args, kwargs = json.loads(signature)
    first = args["list"][0]
    if not _is_list(first) or not first["list"]:
        return [signature]
    count = len(first["list"])

    def at(value: Any, index: int) -> Any:
        every = _is_list(value) and len(value["list"]) == count
        return {"list": [value["list"][index]]} if every else value

    return [
        _line(name, {"list": [at(a, i) for a in args["list"]]}, {k: at(v, i) for k, v in kwargs.items()})
        for i in range(count)
    ]


def _is_list(value: Any) -> bool:
    return isinstance(value, dict)


def _line(name: str, args: Any, kwargs: dict[str, Any]) -> str:
    return json.dumps([name, args, kwargs], separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return [TENSOR, str(value.dtype)[6:], list(value.shape), list(value.stride())]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return {"list": [_plain(item) for item in value]}
    kind = _NAMED.get(type(value))
    return [NAMED, kind, str(value).removeprefix("torch.")] if kind else [NAMED, "unknown", type(value).__name__]
