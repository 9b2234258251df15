"""Element by element, and sums: numbers of another type are copied into the common one first."""

from __future__ import annotations

import torch
from torch import Tensor

from patchword.sizing.flops.registry import Call
from patchword.sizing.workspaces.registry import GENERAL, Inside, aten, copied, inputs, rule, size

_AS_THEY_ARE = frozenset(
    (aten.copy_, aten._to_copy, aten.clone, aten.native_dropout, aten.native_dropout_backward)
)  # their kernels read one type and write another
_CHOOSING = {aten.where: (1, 2), aten.masked_fill: (0, 2), aten.masked_fill_: (0, 2)}  # not the mask
_SUMS = frozenset((aten.sum, aten.cumsum, aten.prod, aten.cumprod))


def _pointwise(call: Call) -> int | None:
    if torch.Tag.pointwise not in call.func.tags or call.func.overloadpacket in _AS_THEY_ARE:
        return None
    if str(call.func.overloadpacket).startswith("aten._foreach"):
        return 0
    places = _CHOOSING.get(call.func.overloadpacket)
    read = inputs(call) if places is None else [call.args[i] for i in places if i < len(call.args)]
    tensors = [t for t in read if isinstance(t, Tensor)]
    if not tensors or not isinstance(call.out, Tensor):
        return 0
    common = _common(tensors, call.out)
    return sum(t.numel() * common.itemsize for t in tensors if t.dtype != common) + _numbers(call, common)


def _common(tensors: list[Tensor], out: Tensor) -> torch.dtype:
    if out.dtype != torch.bool:
        return out.dtype
    common = tensors[0].dtype
    for other in tensors[1:]:
        common = torch.promote_types(common, other.dtype)
    return common


def _numbers(call: Call, common: torch.dtype) -> int:
    """A plain number beside tensors becomes a tensor of its own, and another one of the common type."""
    place = 1
    if len(call.args) <= place or isinstance(call.args[place], Tensor | list | tuple | bool | str | None):
        return 0
    if call.func._overloadname not in ("Scalar", "Tensor"):
        return 0
    own = torch.float64 if isinstance(call.args[place], float) else torch.int64
    return own.itemsize + (common.itemsize if own != common else 0)


def _sum(call: Call) -> int | None:
    if call.func.overloadpacket not in _SUMS:
        return None
    x, out = call.args[0], call.out
    return x.numel() * out.element_size() if isinstance(out, Tensor) and x.dtype != out.dtype else 0


GENERAL.extend((_pointwise, _sum))


@rule(aten.mean)
def _mean(call: Call) -> int:
    x = call.args[0]
    return 4 * (x.numel() + call.out.numel()) if x.element_size() < 4 else 0


@rule(aten.logsumexp)
def _log_sum(call: Call) -> int:
    """The exponentials, and the maxima that they are relative to."""
    return size(call.args[0]) + size(call.out)


@rule(aten._safe_softmax)
def _safe_softmax(call: Call) -> int:
    """Which scores are minus infinity, and in which rows all are."""
    x: Tensor = call.args[0]
    return copied(x) + x.numel() + x.numel() // max(x.shape[call["dim"]], 1) + 4


@rule(aten._softmax, aten._log_softmax)
def _softmax(call: Call) -> int:
    return copied(call.args[0])


@rule(aten._softmax_backward_data, aten._log_softmax_backward_data)
def _softmax_backward(call: Call) -> int:
    return copied(call.args[0], call.args[1])


@rule(aten.embedding)
def _embedding(call: Call) -> int:
    return copied(call.args[1])


@rule(aten.embedding_dense_backward)
def _embedding_backward(call: Call) -> int:
    return copied(call.args[0], call.args[1])


@rule(aten.gelu)
def _gelu(call: Call) -> Inside:
    return Inside(library=8_584) if _by_onednn(call) else Inside()


@rule(aten.gelu_backward)
def _gelu_backward(call: Call) -> Inside:
    return Inside(copied(call["grad_output"]), 21_488) if _by_onednn(call) else Inside()


def _by_onednn(call: Call) -> bool:
    x: Tensor = call["self"]
    plain = call["approximate"] == "none" and x.dtype in (torch.float32, torch.bfloat16)
    return plain and x.is_contiguous() and torch.backends.mkldnn.enabled  # pyright: ignore[reportReturnType]


@rule(aten.im2col)
def _windows(call: Call) -> int:
    return size(call["self"])


@rule(aten.upsample_bilinear2d, aten.upsample_bicubic2d)
def _larger(call: Call) -> int:
    """With few channels the picture is turned so that channels come last, and back."""
    return size(call["self"]) + size(call.out)


@rule(aten.upsample_bilinear2d_backward, aten.upsample_bicubic2d_backward)
def _larger_backward(call: Call) -> int:
    return copied(call["grad_output"])


@rule(aten.max_pool2d_with_indices_backward, aten.avg_pool2d_backward, aten.col2im)
def _pooled_backward(call: Call) -> int:
    return copied(call.args[0])
