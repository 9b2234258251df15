"""Tokens of each modality through a part of their own."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def by_modality(parts: nn.ModuleDict, x: Tensor, modality: Tensor | None) -> Tensor:
    """Each token of x [B, T, D] through the part of its modality, int [B or 1, T]; -> [B, T, D'].

    Only a modality's own tokens go through its part; without any, its weights still stay in the graph.

    Raises:
        ValueError: it is not known what each token is, or there is no part for it.
    """
    if modality is None:
        raise ValueError(f"parts for {', '.join(parts)} need a joint sequence that says which tower each token is from")
    if torch.compiler.is_compiling():
        return _everywhere(parts, x, modality)
    flat, kinds = x.flatten(0, 1), modality.expand(x.shape[:2]).flatten()
    rows = [(kinds == index).nonzero()[:, 0] for index in range(len(parts))]
    if sum(len(own) for own in rows) != len(flat):
        raise ValueError(f"there are parts for {len(parts)} modalities ({', '.join(parts)}), tokens are of others")
    made = [part(flat.index_select(0, own)) for part, own in zip(parts.values(), rows, strict=True)]
    out = torch.cat(made).new_zeros(len(flat), made[0].shape[-1])
    return out.index_copy(0, torch.cat(rows), torch.cat(made)).unflatten(0, x.shape[:2])


def _everywhere(parts: nn.ModuleDict, x: Tensor, modality: Tensor) -> Tensor:
    """The same in fixed shapes: all tokens through all parts, each keeps its own result."""
    out = None
    for index, part in enumerate(parts.values()):
        made = part(x)
        out = made if out is None else torch.where((modality == index)[..., None], made, out)
    assert out is not None
    return out
