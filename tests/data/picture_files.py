"""Picture files of every kind, made on the spot, with the pixels that they hold."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from patchword.data.decode import REASONS, BadImage, decode

LIMIT = 10_000_000
rng = np.random.default_rng(7)


def photo(height: int = 48, width: int = 64, channels: int = 3) -> np.ndarray:
    """Smooth but random: what lossy formats keep."""
    small = rng.integers(0, 256, (6, 8, channels), dtype=np.uint8)
    planes = [
        Image.fromarray(small[:, :, c]).resize((width, height), Image.Resampling.BICUBIC) for c in range(channels)
    ]
    return np.stack([np.asarray(p) for p in planes], axis=2)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def refused(data: bytes, max_pixels: int = LIMIT) -> BadImage:
    with pytest.raises(BadImage) as caught:
        decode(data, max_pixels)
    assert caught.value.reason in REASONS
    assert caught.value.message
    assert "\n" not in caught.value.message
    return caught.value


def distance(a: np.ndarray, b: np.ndarray) -> int:
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b.astype(int)).max())


RGB = photo()
GREY = photo(channels=1)[:, :, 0]
AS_RGB = np.repeat(GREY[:, :, None], 3, axis=2)

FILES = {
    "jpeg": (encode(Image.fromarray(RGB), "JPEG", quality=95), RGB, 16),
    "jpeg progressive": (encode(Image.fromarray(RGB), "JPEG", quality=95, progressive=True), RGB, 16),
    "jpeg 4:4:4": (encode(Image.fromarray(RGB), "JPEG", quality=95, subsampling=0), RGB, 12),
    "jpeg grey": (encode(Image.fromarray(GREY), "JPEG", quality=95), AS_RGB, 8),
    "jpeg cmyk": (encode(Image.fromarray(RGB).convert("CMYK"), "JPEG", quality=95), RGB, 16),
    "png": (encode(Image.fromarray(RGB), "PNG"), RGB, 0),
    "png grey": (encode(Image.fromarray(GREY), "PNG"), AS_RGB, 0),
    "png palette": (encode(Image.fromarray(GREY).convert("P"), "PNG"), AS_RGB, 0),
    "png 1 bit": (
        encode(Image.fromarray(GREY > 127), "PNG"),
        np.repeat(np.where(GREY > 127, 255, 0).astype(np.uint8)[:, :, None], 3, axis=2),
        0,
    ),
    "png 16 bit": (encode(Image.fromarray(GREY.astype(np.uint16) * 257), "PNG"), AS_RGB, 0),
    "gif": (encode(Image.fromarray(GREY).convert("P"), "GIF"), AS_RGB, 0),
    "webp": (encode(Image.fromarray(RGB), "WEBP", quality=95), RGB, 24),
    "webp lossless": (encode(Image.fromarray(RGB), "WEBP", lossless=True), RGB, 0),
    "bmp": (encode(Image.fromarray(RGB), "BMP"), RGB, 0),
    "tiff": (encode(Image.fromarray(RGB), "TIFF"), RGB, 0),
    "tiff lzw": (encode(Image.fromarray(RGB), "TIFF", compression="tiff_lzw"), RGB, 0),
    "tiff 16 bit": (encode(Image.fromarray(GREY.astype(np.uint16) * 257), "TIFF"), AS_RGB, 0),
    "ppm": (encode(Image.fromarray(RGB), "PPM"), RGB, 0),
    "pgm 16 bit": (b"P5\n64 48\n65535\n" + (GREY.astype(">u2") * 257).tobytes(), AS_RGB, 0),
}
EVERY_FILE = pytest.mark.parametrize("name", FILES)


def oriented(kind: str, image: Image.Image, orientation: int, **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    exif[0x0112] = orientation
    return encode(image, kind, exif=exif, **options)
