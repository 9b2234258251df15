"""How a picture is fitted to the size that a model reads: stretch, crop, pad or fit."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from patchword.config.data import ImageConfig

PADDING = 127
"""Grey level that `pad` puts around a picture."""


class Size(NamedTuple):
    """Sides in pixels."""

    height: int
    width: int


class Box(NamedTuple):
    """A part of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int


class Stretch:
    """The whole picture on the whole output; its aspect ratio is lost."""

    def __init__(self, config: ImageConfig) -> None:
        self.out = Size(config.height, config.width)

    def keep(self, size: Size) -> Size:
        """Sides of the largest part of a picture that can be shown."""
        return size

    def target(self, part: Size) -> Size:
        """Sides that such a part takes in the output."""
        return self.out

    def finish(self, pixels: Tensor) -> Tensor:
        """The output, made of a part [3, h, w] that has its sides already."""
        return pixels

    def __call__(self, pixels: np.ndarray, box: Box | None = None) -> Tensor:
        """The output uint8 [3, h, w] that shows a box of the picture uint8 [h, w, 3].

        By default the box is the largest possible, in the middle.
        """
        size = Size(*pixels.shape[:2])
        top, left, height, width = box or centred(self.keep(size), size)
        part = pixels[top : top + height, left : left + width]
        return self.finish(resample(part, self.target(Size(height, width))))


class Crop(Stretch):
    """The output is filled, what hangs over is cut.

    The cut comes first, at the nearest pixel, so that a strip of 1 x 5000 pixels is never blown up whole.
    """

    def keep(self, size: Size) -> Size:
        """The largest part that has the output's aspect ratio."""
        if size.width * self.out.height > size.height * self.out.width:
            return Size(size.height, max(1, round(size.height * self.out.width / self.out.height)))
        return Size(max(1, round(size.width * self.out.height / self.out.width)), size.width)


class Pad(Stretch):
    """The whole picture, as large as it fits inside, with `PADDING` around it."""

    def target(self, part: Size) -> Size:
        """The part as large as it fits inside."""
        scale = min(self.out.height / part.height, self.out.width / part.width)
        return Size(max(1, round(part.height * scale)), max(1, round(part.width * scale)))

    def finish(self, pixels: Tensor) -> Tensor:
        """The part in the middle of grey."""
        top, left, height, width = centred(Size(*pixels.shape[1:]), self.out)
        out = pixels.new_full((3, *self.out), PADDING)
        out[:, top : top + height, left : left + width] = pixels
        return out


class Fit(Stretch):
    """The whole picture, as large as it fits inside, each side rounded to a multiple: outputs differ in size."""

    def __init__(self, config: ImageConfig) -> None:
        super().__init__(config)
        self.multiple = config.multiple

    def target(self, part: Size) -> Size:
        """The nearest multiples, at least one and at most what the output holds."""
        scale = min(self.out.height / part.height, self.out.width / part.width)
        return Size(*(self._round(side * scale, most) for side, most in zip(part, self.out)))

    def _round(self, side: float, most: int) -> int:
        count = math.floor(side / self.multiple + 0.5)
        return self.multiple * min(max(count, 1), most // self.multiple)


RESIZES: dict[str, type[Stretch]] = {"stretch": Stretch, "crop": Crop, "pad": Pad, "fit": Fit}
"""By the names of `ImageConfig.resize`."""


def centred(part: Size, size: Size) -> Box:
    """A part in the middle of a picture."""
    return Box((size.height - part.height) // 2, (size.width - part.width) // 2, *part)


def resample(pixels: np.ndarray, size: Size) -> Tensor:
    """The picture uint8 [h, w, 3] at another size, [3, h, w].

    Bicubic (a = -1/2) and antialiased: equal to Pillow's to 1/255 wherever no side grows while the other shrinks.
    """
    # from memory in the order [h, w, 3], as it is, torch is twice as fast as from [3, h, w]
    source = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)
    if pixels.shape[:2] == size:
        return source.contiguous()
    # the order is stated because torch 2.13 fails an assertion where it cannot be told from the shape (1 x 1)
    batch = source[None].contiguous(memory_format=torch.channels_last)
    return functional.interpolate(batch, size=list(size), mode="bicubic", antialias=True)[0].contiguous()
