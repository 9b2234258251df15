"""Another order of the width that all tokens of a model share: the same function, of weights in another order."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_GIVEN = re.compile(r".*\.((q|k|v|up|gate)_proj|table)\.weight|heads\..*\.proj\.weight")
_MADE = re.compile(r".*\.(out_proj|down_proj)\.(weight|bias)|(.*\.)?(norm|entry_norm)\.(weight|bias)")


def side_by_side(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a model whose width is in pairs (sine, cosine), for one that has all sines before all cosines."""
    return {name: _moved(name, tensor) for name, tensor in weights.items()}


def order(dim: int) -> Tensor:
    """Where each of our places stands among theirs; int [D]."""
    return torch.arange(dim).view(-1, 2).T.flatten()


def _moved(name: str, tensor: Tensor) -> Tensor:
    if _MADE.fullmatch(name):
        return tensor[order(len(tensor)).to(tensor.device)]
    if _GIVEN.fullmatch(name):
        return tensor[:, order(tensor.shape[1]).to(tensor.device)]
    return tensor  # offsets of what leaves the common width
