"""Named tensors as safetensors files; a model's weights are written and read by `patchword.models.weights`."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from patchword.models.weights import load_weights, save_weights

__all__ = ["load_tensors", "load_weights", "save_tensors", "save_weights"]


def save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write named tensors.

    Raises:
        OSError: the disk is full, or not writable.
    """
    try:
        safetensors.torch.save_file({name: t.detach().contiguous() for name, t in tensors.items()}, path)
    except SafetensorError as error:  # its way of passing on what the system said
        raise OSError(f"cannot write {path}: {error}") from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """The inverse of `save_tensors`, on the CPU."""
    return safetensors.torch.load_file(path)
