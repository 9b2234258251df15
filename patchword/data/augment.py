"""Random changes to training pictures. Each depends on (seed, epoch, index) alone: not on workers, order or device."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from patchword.config.data import AugmentConfig
from patchword.data.resize import Box, Size

_STREAM = int.from_bytes(b"pictures", "big")
"""Keeps these draws apart from others that are seeded by the same three numbers."""

_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""


class Changes(NamedTuple):
    """What happens to one picture at one time."""

    area: float
    """Share of the area that the crop keeps."""
    stretch: float
    """How much wider than usual the crop is, for its height."""
    down: float
    """Where the crop lies, from 0 (top) to 1 (bottom)."""
    across: float
    """Where the crop lies, from 0 (left) to 1 (right)."""
    flip: bool
    """Whether left and right are exchanged."""
    shift: tuple[float, float]
    """How far the picture moves down and right, as a share of its sides."""
    brightness: float
    """Factor on every value."""
    contrast: float
    """Factor on the distance from the picture's mean grey."""
    saturation: float
    """Factor on the distance from the pixel's own grey."""


def draw(config: AugmentConfig, seed: int, epoch: int, index: int) -> Changes:
    """The changes for picture `index` in an epoch. Every knob has draws of its own: turning one leaves the others."""
    u = np.random.default_rng((_STREAM, seed, epoch, index)).random(10).tolist()
    area = 1 - (1 - config.crop) * u[0]
    # a crop of this area can be stretched no further before it leaves the picture
    most = math.log(min(config.ratio, 1 / area))

    def around(middle: float, most: float, share: float) -> float:
        return middle + most * (2 * share - 1)

    return Changes(
        area=area,
        stretch=math.exp(around(0, most, u[1])),
        down=u[2],
        across=u[3],
        flip=u[4] < config.flip,
        shift=(around(0, config.shift, u[5]), around(0, config.shift, u[6])),
        brightness=around(1, config.brightness, u[7]),
        contrast=around(1, config.contrast, u[8]),
        saturation=around(1, config.saturation, u[9]),
    )


def crop_box(changes: Changes, size: Size, keep: Size) -> Box:
    """The random crop in a picture of a size, of which `keep` would be shown without one."""
    height = min(keep.height, max(1, round(keep.height * math.sqrt(changes.area / changes.stretch))))
    width = min(keep.width, max(1, round(keep.width * math.sqrt(changes.area * changes.stretch))))
    top = math.floor(changes.down * (size.height - height + 1))
    left = math.floor(changes.across * (size.width - width + 1))
    return Box(top, left, height, width)


def alter(pixels: Tensor, changes: Changes) -> Tensor:
    """The picture uint8 [3, h, w] flipped, moved and recoloured; the crop has been made before."""
    if changes.flip:
        pixels = pixels.flip(2)
    for side, share in zip((1, 2), changes.shift):
        pixels = _move(pixels, side, round(share * pixels.shape[side]))
    return _recolour(pixels, changes)


def _move(pixels: Tensor, side: int, offset: int) -> Tensor:
    """The picture moved along a side; the edge that it leaves is repeated."""
    if offset == 0:
        return pixels
    length = pixels.shape[side]
    kept = pixels.narrow(side, max(-offset, 0), length - abs(offset))
    edge = pixels.narrow(side, 0 if offset > 0 else length - 1, 1).expand(
        *(abs(offset) if n == side else -1 for n in range(3))
    )
    return torch.cat([edge, kept] if offset > 0 else [kept, edge], side)


def _recolour(pixels: Tensor, changes: Changes) -> Tensor:
    """Brightness, then contrast, then saturation. All three are linear: one pass in floats, clipped once.

    In NumPy, which takes half of torch's time here and gives the same bits on any number of threads.
    """
    if changes.brightness == changes.contrast == changes.saturation == 1:
        return pixels
    values = pixels.numpy().astype(np.float32)
    grey = values[0] * _LUMA[0]
    grey += values[1] * _LUMA[1]
    grey += values[2] * _LUMA[2]
    offset = changes.brightness * (1 - changes.contrast) * float(grey.mean(dtype=np.float64))
    scale = changes.brightness * changes.contrast
    grey *= scale * (1 - changes.saturation)
    grey += offset + 0.5  # so that cutting off the fraction rounds
    values *= scale * changes.saturation
    values += grey
    return torch.from_numpy(np.clip(values, 0, 255, out=values).astype(np.uint8))
