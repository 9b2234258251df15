"""A table of places, added to tokens."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchword.config import LearnedPositionConfig, UserError, implements
from patchword.nn.positions.base import Heads, Places, Position, places_of
from patchword.nn.positions.bicubic import taps
from patchword.sequence import SequenceInfo, can_look


@implements(LearnedPositionConfig)
class LearnedPosition(Position):
    """One learned vector a place; row-major over a grid, the special token's first."""

    def __init__(self, config: LearnedPositionConfig, places: Places, dim: int, heads: Heads) -> None:
        super().__init__(config, places, dim, heads)
        self.extent: tuple[int, ...] = (config.max_len,) if config.max_len and places.axes == 1 else places.extent
        if not self.extent:
            raise UserError("learned positions need a number of places: set position.max_len")
        if config.max_len and places.axes > 1:
            raise UserError("position.max_len is for text; a picture's places follow from image_size and patch_size")
        if config.interpolate and places.axes == 1:
            raise UserError("position.interpolate is for pictures: a table for text has no size to fit")
        self.interpolate, self.special = config.interpolate, int(places.special)
        self.zero_start = config.zero_start
        self.table = nn.Embedding(math.prod(self.extent) + self.special, dim)

    def start(self) -> None:
        """The table to zero, where it is to start there; it has been set as all tables are."""
        if self.zero_start:
            nn.init.zeros_(self.table.weight)

    def add(self, x: Tensor, info: SequenceInfo) -> Tensor:
        """Tokens with their places' vectors added; [B, T, D] -> same.

        Raises:
            UserError: a token stands outside the table, and the table is not resized.
            ValueError: several pictures in one row, and the table is resized to each picture.
        """
        pos = places_of(info)
        if self.interpolate:
            return x + self._resized(pos, info.segment)
        self._check(pos)
        if pos.ndim == 2:
            return x + self.table(pos + self.special)
        index = pos[..., 0] * self.extent[1] + pos[..., 1]
        return x + self.table(torch.where(pos[..., 0] < 0, -1, index) + self.special)

    def _resized(self, pos: Tensor, segment: Tensor | None) -> Tensor:
        """The table fitted to each row's picture, whose last row and column its tokens show; [B or 1, T, D]."""
        if segment is not None:
            raise ValueError("learned positions cannot be resized to several pictures in one row")
        if not pos.numel():
            return self.table(pos[..., 0])
        weight = self.table.weight
        sizes = pos.amax(1) + 1
        index, share = taps(pos.clamp_min(0), sizes, (self.extent[0], self.extent[1]), weight.dtype)
        index = index + self.special
        if self.special:  # its row stays as it is
            alone = F.one_hot(torch.zeros_like(index[..., 0]), index.shape[-1]).to(share.dtype)
            special = pos[..., :1] < 0
            index, share = index.masked_fill(special, 0), torch.where(special, alone, share)
        mixed = F.embedding_bag(index.flatten(0, 1), weight, per_sample_weights=share.flatten(0, 1), mode="sum")
        return mixed.unflatten(0, pos.shape[:2])

    def resized_from(self, other: LearnedPosition) -> Tensor | None:
        """Another's table fitted to this one's grid, the special token's row as it is; None: only grids are resized."""
        (rows, dim), theirs = self.table.weight.shape, other.table.weight.detach()
        if len(self.extent) != 2 or len(other.extent) != 2 or self.special != other.special or theirs.shape[1] != dim:
            return None
        grid = theirs[self.special :].T.unflatten(1, other.extent)[None]
        size = [self.extent[0], self.extent[1]]
        fitted = F.interpolate(grid, size=size, mode="bicubic", align_corners=False)[0].flatten(1).T
        assert len(fitted) + self.special == rows
        return torch.cat([theirs[: self.special], fitted])

    def _check(self, pos: Tensor) -> None:
        if not can_look(pos) or not pos.numel():
            return
        sides = (pos if pos.ndim == 3 else pos[..., None]).flatten(0, -2)
        most = sides.amax(0).tolist()
        if any(m >= e for m, e in zip(most, self.extent, strict=True)):
            asked, has = " x ".join(str(m + 1) for m in most), " x ".join(map(str, self.extent))
            remedy = "set position.interpolate, " if pos.ndim == 3 else "shorten the input, enlarge the table, "
            raise UserError(
                f"learned positions were made for {has} places, {asked} are needed: "
                f"{remedy}or choose sinusoidal or rotary positions"
            )
