"""Where a model is trained, and in which numbers."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from patchword.config import UserError

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str) -> str:
    """`auto` resolved to what there is; any other name checked.

    Raises:
        UserError: there is no such device.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda"):
        count, index = torch.cuda.device_count(), int(name.partition(":")[2] or 0)
        if index >= count:
            raise UserError(f"train.device: {name} does not exist here ({count} CUDA devices); use auto or cpu")
    return name


class Precision:
    """Numbers of the forward and backward pass; weights, their gradients and the optimizer stay fp32.

    Args:
        name: fp32, bf16 or fp16.
        device: as `pick_device` gives it.

    Raises:
        UserError: the device cannot do it.
    """

    def __init__(self, name: str, device: str) -> None:
        kind = torch.device(device).type
        if name == "fp16" and kind == "cpu":
            raise UserError("train.precision: fp16 needs a CUDA device; on a CPU use fp32 (fastest) or bf16")
        if name == "bf16" and kind == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
            raise UserError("train.precision: this CUDA device has no bf16; use fp16 or fp32")
        self.kind, self.dtype = kind, _DTYPES.get(name)
        self.scaler = torch.amp.GradScaler(kind, enabled=name == "fp16")
        """Keeps small fp16 gradients from vanishing; does nothing otherwise."""

    def autocast(self) -> AbstractContextManager[object]:
        """The context of a forward pass."""
        return nullcontext() if self.dtype is None else torch.autocast(self.kind, self.dtype)
