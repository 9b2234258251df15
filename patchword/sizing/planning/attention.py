"""Which kernel torch would choose for fused attention on a device that is not at hand.

The rules are those of torch 2.13's `aten/src/ATen/native/transformers/cuda/sdp_utils.cpp`, for dense tensors whose
queries, keys and values are of one width; docs/sizing/plans.md lists them. Nothing here was run on a GPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from patchword.sizing.planning.devices import Device

FLASH, EFFICIENT, CUDNN, MATH = "flash", "efficient", "cudnn", "math"


class AttentionCall(NamedTuple):
    """What one call asks for."""

    queries: int
    keys: int
    heads: int
    head_dim: int
    masked: bool
    """A mask of pairs is given, not just that it is causal."""
    causal: bool


def backend(call: AttentionCall, device: Device, precision: str, training: bool = True) -> str:
    """`flash`, `efficient`, `cudnn` or `math`.

    Args:
        call: what is asked for.
        device: a CPU has a flash kernel of its own for all of it; of Apple's GPUs `math` stands for Metal's one kernel.
        precision: fp32, bf16 or fp16.
        training: whether gradients are wanted.
    """
    if device.kind != "cuda" or device.capability is None:
        return FLASH if device.kind == "cpu" else MATH
    half, capability = precision in ("bf16", "fp16"), device.capability
    if precision == "bf16" and capability < (8, 0):
        return MATH
    if half and capability in ((9, 0), (10, 0)) and call.head_dim % 8 == 0 and call.head_dim <= 128:
        return CUDNN
    if half and capability >= (8, 0) and _flash(call, capability, training):
        return FLASH
    alignment = 8 if half else 4 if capability >= (8, 0) else 1
    return EFFICIENT if call.head_dim % alignment == 0 else MATH


def _flash(call: AttentionCall, capability: tuple[int, int], training: bool) -> bool:
    """No mask but a square causal one, heads of up to 256, and on small chips no gradients of 193 to 224."""
    square = not call.causal or call.queries == call.keys
    small = capability in ((8, 6), (8, 9), (12, 0)) and training and 192 < call.head_dim <= 224
    return not call.masked and square and call.head_dim <= 256 and not small


class Watched(TorchFunctionMode):
    """Notes the fused attention that runs while it is active, and how often, in `calls`."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = Counter[AttentionCall]()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            self._note(*args, **kwargs)
        return func(*args, **kwargs)

    def _note(
        self,
        query: Any,
        key: Any,
        value: Any,
        attn_mask: Any = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> None:
        heads, queries, width = query.shape[-3], query.shape[-2], query.shape[-1]
        self.calls[AttentionCall(queries, key.shape[-2], heads, width, attn_mask is not None, is_causal)] += 1


def attention_calls(run: Callable[[], object]) -> dict[AttentionCall, int]:
    """The fused attention that runs in `run`, with how often."""
    with Watched() as watched:
        run()
    return dict(watched.calls)
