"""From a picture's file to what a tower reads: decode, resize, keep, change at random."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from patchword.config.data import AugmentConfig, ImageConfig
from patchword.data.augment import alter, crop_box, draw
from patchword.data.cache import open_cache
from patchword.data.decode import REASONS, BadImage, decode
from patchword.data.resize import RESIZES, Size, resample

__all__ = ["REASONS", "BadImage", "ImagePipeline", "decode"]

OVERSAMPLING = 3
"""JPEG is decoded at 1/2, 1/4 or 1/8 where that leaves this many times the sides needed: below 1/255 off on average."""

_VERSION = 1
"""To be raised when the same file and settings give other pixels: old cache entries are then not used."""


class ImagePipeline:
    """Pictures as `ImageConfig` describes them. The cache changes no result, only how fast it comes.

    What is kept is the finished picture, before random changes. Where these crop, it is the whole picture, shrunk no
    further than that the smallest crop still has the output's resolution.
    """

    def __init__(self, config: ImageConfig, seed: int) -> None:
        changes = config.augment
        self.config = config
        self.seed = seed
        self._resize = RESIZES[config.resize](config)
        self._cache = open_cache(config.cache)
        self._still = changes == AugmentConfig()
        self._zoom = math.sqrt(changes.ratio / changes.crop)
        self._settings = (_VERSION, config.height, config.width, config.resize, config.multiple, config.max_pixels)

    def __call__(self, picture: bytes | np.ndarray, key: str, augment: tuple[int, int] | None) -> Tensor:
        """One picture, uint8 [3, h, w], free to be written to.

        Args:
            picture: A file's bytes, or pixels uint8 [h, w, 3].
            key: Names the picture in the cache, together with its content.
            augment: (epoch, index) that random changes are drawn from; None: none are made.

        Raises:
            BadImage: the picture cannot be read.
        """
        if augment is None or self._still:
            return self._finished(picture, key)
        changes = draw(self.config.augment, self.seed, *augment)
        if self.config.augment.crop == 1:
            return alter(self._finished(picture, key), changes)
        whole = self._whole(picture, key)
        size = Size(*whole.shape[:2])
        return alter(self._resize(whole, crop_box(changes, size, self._resize.keep(size))), changes)

    def _finished(self, picture: bytes | np.ndarray, key: str) -> Tensor:
        """The picture [3, h, w] without random changes; a copy, which the cache does not share."""
        pixels = self._cache.fetch(
            ("finished", key, *self._settings), picture, lambda: self._resize(self._pixels(picture, 1)).numpy()
        )
        return torch.from_numpy(pixels).clone()

    def _whole(self, picture: bytes | np.ndarray, key: str) -> np.ndarray:
        """The uncut picture [h, w, 3] for random crops; shared with the cache."""
        return self._cache.fetch(
            ("whole", key, *self._settings, self._zoom),
            picture,
            lambda: self._shrink(self._pixels(picture, self._zoom)),
        )

    def _pixels(self, picture: bytes | np.ndarray, zoom: float) -> np.ndarray:
        """The picture's pixels [h, w, 3], of at least `zoom` times the output's sides where the file has them."""
        if isinstance(picture, np.ndarray):
            return _checked(picture)
        height, width = (math.ceil(OVERSAMPLING * zoom * side) for side in self._resize.out)
        return decode(picture, self.config.max_pixels, (height, width))

    def _shrink(self, pixels: np.ndarray) -> np.ndarray:
        """The whole picture, shrunk as far as the smallest crop allows."""
        size = Size(*pixels.shape[:2])
        keep = self._resize.keep(size)
        target = self._resize.target(keep)
        sides = Size(
            *(min(side, math.ceil(side * shown / kept * self._zoom)) for side, shown, kept in zip(size, target, keep))
        )
        return pixels if sides == size else resample(pixels, sides).permute(1, 2, 0).contiguous().numpy()


def _checked(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"pixels should be uint8 [h, w, 3], got {pixels.dtype} {list(pixels.shape)}")
    if not pixels.size:
        raise BadImage("empty", f"a picture of {pixels.shape[0]} x {pixels.shape[1]} pixels")
    return np.array(pixels, order="C")  # torch refuses read-only arrays and reversed axes
