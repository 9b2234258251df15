"""What tasks with pictures share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from patchword.config import UserError
from patchword.data.base import Record, Split
from patchword.sequence import ImageInput
from patchword.tasks.base import Query


def needed_pictures(queries: Sequence[Query]) -> list[Tensor]:
    """The picture of each query.

    Raises:
        UserError: one has none.
    """
    pictures = [query.picture for query in queries if query.picture is not None]
    if len(pictures) < len(queries):
        raise UserError("name at least one picture: --image PATH")
    return pictures


def on_canvas(pictures: Sequence[Tensor]) -> ImageInput:
    """Pictures uint8 [3, h, w] side by side; sizes are given only where they differ."""
    if not pictures:
        return ImageInput(torch.zeros(0, 3, 0, 0, dtype=torch.uint8), torch.zeros(0, 2, dtype=torch.long))
    if all(p.shape == pictures[0].shape for p in pictures):
        return ImageInput(torch.stack(list(pictures)))
    size = torch.tensor([p.shape[1:] for p in pictures])
    pixels = torch.zeros(len(pictures), 3, *size.amax(0).tolist(), dtype=torch.uint8)
    for canvas, picture in zip(pixels, pictures, strict=True):
        canvas[:, : picture.shape[1], : picture.shape[2]] = picture
    return ImageInput(pixels, size)


class FirstRecords:
    """The first `limit` records of a split; None: all."""

    def __init__(self, split: Split, limit: int | None) -> None:
        self.name, self.split = split.name, split
        self.length = len(split) if limit is None else min(limit, len(split))

    def __len__(self) -> int:
        return self.length

    def record(self, index: int) -> Record:
        """Record `index`."""
        return self.split.record(index)

    def read(self, index: int) -> bytes | np.ndarray:
        """The picture of record `index`."""
        return self.split.read(index)
