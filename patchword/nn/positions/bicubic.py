"""Bicubic resizing of a table, place by place, so that pictures of one batch may each have a size of their own."""

from __future__ import annotations

import torch
from torch import Tensor

_A = -0.75  # the sharpness that torch and most programs use


def taps(pos: Tensor, sizes: Tensor, extent: tuple[int, int], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Which entries of a table make each place of a resized one, and their shares.

    The same as torch's `interpolate(..., mode="bicubic", align_corners=False)` of the table to each picture's size
    (Keys 1981); entries beyond the edge are those of the edge.

    Args:
        pos: row and column of each place; int [B, T, 2].
        sizes: rows and columns of each picture; int [B, 2].
        extent: rows and columns of the table.
        dtype: of the shares; they are made in float32 or wider.

    Returns:
        Entries of the table, row by row, int [B, T, 16]; shares that add up to one, [B, T, 16].
    """
    rows, down = _axis(pos[..., 0], sizes[:, :1], extent[0], dtype)
    columns, across = _axis(pos[..., 1], sizes[:, 1:], extent[1], dtype)
    index = rows[..., :, None] * extent[1] + columns[..., None, :]
    share = down[..., :, None] * across[..., None, :]
    return index.flatten(-2), share.flatten(-2).to(dtype)


def _axis(place: Tensor, size: Tensor, extent: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Entries of one axis and their shares; int [B, T] and [B, 1] -> [B, T, 4] each."""
    wide = torch.promote_types(dtype, torch.float32)
    at = (place.to(wide) + 0.5) * (extent / size.to(wide)) - 0.5
    first = at.floor()
    near = at - first
    shares = torch.stack([_far(near + 1), _close(near), _close(1 - near), _far(2 - near)], -1)
    entries = first.long()[..., None] + torch.arange(-1, 3, device=place.device)
    return entries.clamp(0, extent - 1), shares


def _close(distance: Tensor) -> Tensor:
    return ((_A + 2) * distance - (_A + 3)) * distance * distance + 1


def _far(distance: Tensor) -> Tensor:
    return ((_A * distance - 5 * _A) * distance + 8 * _A) * distance - 4 * _A
