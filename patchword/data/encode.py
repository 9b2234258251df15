"""From pixels to a file's bytes, for pages that carry their pictures with them."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import Image

from patchword.data.resize import Size, resample

LOSSLESS_SIDE = 128
"""Pictures up to this size are kept exactly: they are shown enlarged, where JPEG's blocks would be seen."""

_QUALITY = 85


class Encoded(NamedTuple):
    """A picture as a file."""

    data: bytes
    """The whole file."""
    mime: str
    """Its type: image/png or image/jpeg."""
    size: Size
    """Its sides in pixels."""


def encode_png(pixels: np.ndarray) -> bytes:
    """A PNG file of a picture uint8 [h, w, 3], or [h, w, 4] with opacity last.

    Raises:
        ValueError: the array is no such picture.
    """
    _check(pixels, channels=(3, 4))
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, format="PNG", optimize=True)
    return file.getvalue()


def encode_for_page(pixels: np.ndarray, max_side: int) -> Encoded:
    """A picture uint8 [h, w, 3], shrunk so that no side is longer than `max_side`: PNG where it is small, else JPEG.

    Raises:
        ValueError: the array is no such picture.
    """
    _check(pixels, channels=(3,))
    size = _within(Size(*pixels.shape[:2]), max_side)
    if size != pixels.shape[:2]:
        pixels = resample(pixels, size).permute(1, 2, 0).numpy()
    if max(size) <= LOSSLESS_SIDE:
        return Encoded(encode_png(pixels), "image/png", size)
    data = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=_QUALITY, colorsubsampling="420")
    return Encoded(data, "image/jpeg", size)


def _within(size: Size, max_side: int) -> Size:
    scale = min(1.0, max_side / max(size))
    return Size(max(1, round(size.height * scale)), max(1, round(size.width * scale)))


def _check(pixels: np.ndarray, channels: tuple[int, ...]) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in channels or not pixels.size:
        wanted = " or ".join(map(str, channels))
        raise ValueError(f"a picture is uint8 [h, w, {wanted}], got {pixels.dtype} {list(pixels.shape)}")
