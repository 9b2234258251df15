"""A model's weights as a safetensors file, tied ones once."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import nn

from patchword.config import UserError


def save_weights(model: nn.Module, path: Path) -> None:
    """Write a model's state; a weight that has several names is written once.

    Raises:
        OSError: the disk is full, or not writable.
    """
    try:
        safetensors.torch.save_model(model, str(path))
    except SafetensorError as error:
        raise OSError(f"cannot write {path}: {error}") from error


def load_weights(model: nn.Module, path: Path) -> None:
    """Read what `save_weights` wrote into a model of the same shape; its parameters stay where they are.

    Raises:
        UserError: the file is of another model, or not a safetensors file.
    """
    try:
        safetensors.torch.load_model(model, path)
    except SafetensorError as error:
        raise UserError(f"{path}: not a whole safetensors file: {error}") from error
    except RuntimeError as error:
        raise UserError(f"{path}: weights of another model: {error}") from error
