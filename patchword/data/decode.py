"""From a file's bytes to pixels: any common format, upright, RGB; damaged and hostile files become `BadImage`."""

from __future__ import annotations

import functools
import io
import os
import re
import threading
import warnings
from collections.abc import Callable, Iterable

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from patchword.data.orientation import ORIENTATION_TAG, SIDEWAYS, jpeg_orientation, upright

REASONS = ("missing", "empty", "truncated", "not an image", "too many pixels", "unreadable")
"""Why a picture could not be had."""


class BadImage(Exception):  # noqa: N818 - the picture is bad; the program has no error
    """A picture that cannot be used; `reason` is one of `REASONS`, `message` one line for a person."""

    def __init__(self, reason: str, message: str) -> None:
        assert reason in REASONS, reason
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


def decode(data: bytes, max_pixels: int, at_least: tuple[int, int] | None = None) -> np.ndarray:
    """Pixels uint8 [h, w, 3] of a picture file, as it is meant to be seen (EXIF orientation applied).

    Transparent parts show white, 16-bit pictures are scaled to 8 bits, of an animation the first frame is taken;
    colour profiles are not applied.

    Args:
        data: The whole file.
        max_pixels: Files with more pixels are refused by their header, before any is decoded. Pillow refuses files
            other than JPEG above 178,956,970 pixels whatever is asked here.
        at_least: A hint (h, w): the result may be the picture at 1/2, 1/4 or 1/8 of its size, where that still has
            these sides. JPEG is decoded several times faster so.

    Raises:
        BadImage: the file is empty, cut short, damaged, too large, or no picture.
    """
    if not data:
        raise BadImage("empty", "the file has no bytes")
    if data.startswith(b"\xff\xd8"):
        pixels = _decode_jpeg(data, max_pixels, at_least)
        if pixels is not None:
            return pixels
    return _decode_any(data, max_pixels)


# ------------------------------------------------------------------ ordinary JPEG

_LOST_PIXELS = re.compile("premature end|bad huffman|bad arithmetic|instead of rst|before marker 0xd[0-7]", re.I)
"""What libjpeg says where it would fill in grey. Its other warnings (a stray byte, an odd version) cost no pixel."""


def _decode_jpeg(data: bytes, max_pixels: int, at_least: tuple[int, int] | None) -> np.ndarray | None:
    """The pixels, or None where this decoder cannot say and Pillow shall."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (ValueError, KeyError):  # KeyError: a header cut in the middle
        return None
    height, width = int(height), int(width)
    _check_size(height, width, max_pixels)
    if colours not in ("YCbCr", "RGB", "Gray"):
        return None
    orientation = jpeg_orientation(data)
    if at_least is not None and orientation in SIDEWAYS:
        at_least = at_least[1], at_least[0]
    divisor = _divisor(height, width, at_least)
    try:
        pixels = simplejpeg.decode_jpeg(
            data, "RGB", min_height=-(-height // divisor), min_width=-(-width // divisor), strict=True
        )
    except ValueError as error:
        if _LOST_PIXELS.search(str(error)):
            reason = "truncated" if "premature end" in str(error).lower() else "unreadable"
            raise BadImage(reason, f"part of the picture is lost ({error})") from error
        return None
    return upright(pixels, orientation)


def _divisor(height: int, width: int, at_least: tuple[int, int] | None) -> int:
    """How much smaller the picture may be decoded. Only powers of two: 3/8 takes longer than 1/2 and shows less."""
    if at_least is None:
        return 1
    return next((d for d in (8, 4, 2) if height >= d * at_least[0] and width >= d * at_least[1]), 1)


def _check_size(height: int, width: int, max_pixels: int) -> None:
    if height < 1 or width < 1:
        raise BadImage("unreadable", f"its header says {height} x {width} pixels")
    if height * width > max_pixels:
        raise BadImage("too many pixels", f"{height} x {width} pixels (high x wide), {max_pixels} are allowed")


# ------------------------------------------------------------------ everything else

_FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
"""Formats of pictures. Pillow knows more, some of which start programs (PostScript) or hide pictures in pictures."""

_SIGNATURES = {
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "GIF": re.compile(rb"GIF8[79]a"),
    "WebP": re.compile(rb"RIFF....WEBP", re.S),
    "BMP": re.compile(rb"BM.{4}\0\0\0\0", re.S),
    "TIFF": re.compile(rb"II\*\0|MM\0\*|II\+\0|MM\0\+"),
    "AVIF": re.compile(rb"....ftypavi[fs]", re.S),
    "JPEG 2000": re.compile(rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  "),
}
_WEB_PAGE = re.compile(rb"\s*<(!doctype html|html|\?xml|head|body)", re.I)
_CUT_SHORT = re.compile(
    "truncat|premature|reached eof|not enough image data|broken data stream|expect(ed|ing) to read", re.I
)

# Warning filters belong to the process: two threads that change and restore them at once would leave them changed.
_pillow = threading.Lock()
os.register_at_fork(before=_pillow.acquire, after_in_parent=_pillow.release, after_in_child=_pillow.release)


def _decode_any(data: bytes, max_pixels: int) -> np.ndarray:
    with _pillow, warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            with Image.open(io.BytesIO(data), formats=_formats()) as image:
                _check_size(image.height, image.width, max_pixels)
                image.load()
                pixels = _TO_RGB.get(image.mode, _eight_bit)(image)
                return upright(pixels, _orientation(image))
        except BadImage:
            raise
        except Image.DecompressionBombError as error:
            count = re.search(r"\((\d+) pixels\)", str(error))  # Pillow's own limit comes before ours
            has = f"{count[1]} pixels" if count else str(error)
            raise BadImage("too many pixels", f"{has}, {max_pixels} are allowed") from error
        except Exception as error:  # a damaged file can make Pillow's readers raise nearly any built-in error
            said = [str(error), *(str(w.message) for w in heard)]
            raise BadImage(*_explain(data, error, said)) from error


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:  # as above; damaged notes beside a sound picture are no reason to refuse it
        return 1


def _explain(data: bytes, error: Exception, said: Iterable[str]) -> tuple[str, str]:
    """The reason and the message for a file that Pillow could not read."""
    kind = next((name for name, start in _SIGNATURES.items() if start.match(data)), None)
    if any(_CUT_SHORT.search(text) for text in said) or (kind == "WebP" and _riff_length(data) > len(data)):
        return "truncated", f"the {kind or 'picture'} file ends too early ({len(data)} bytes)"
    if not isinstance(error, UnidentifiedImageError):
        return "unreadable", f"the {kind or 'picture'} file is damaged or of an unusual kind ({error})"
    if kind is not None:
        return "unreadable", f"the file starts as {kind} does, but is damaged, cut short, or of an unusual kind"
    if _WEB_PAGE.match(data):
        return "not an image", "the file holds a web page or XML"
    return "not an image", f"no picture format starts with {data[:8]!r}"


def _riff_length(data: bytes) -> int:
    return 8 + int.from_bytes(data[4:8], "little")


# ------------------------------------------------------------------ pixel modes


def _eight_bit(image: Image.Image) -> np.ndarray:
    if not image.has_transparency_data:
        return np.array(image.convert("RGB"))
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return np.array(Image.alpha_composite(white, image).convert("RGB"))


def _sixteen_bit(image: Image.Image) -> np.ndarray:
    grey = np.array(image).astype(np.int64)
    if grey.min() < 0 or grey.max() > 65535:
        raise BadImage("unreadable", f"{image.mode} pixels beyond 16 bits have no agreed white")
    return np.repeat(((grey + 128) // 257).astype(np.uint8)[:, :, None], 3, axis=2)


def _floating(image: Image.Image) -> np.ndarray:
    raise BadImage("unreadable", f"{image.mode} pixels are floating-point numbers, which have no agreed white")


_TO_RGB: dict[str, Callable[[Image.Image], np.ndarray]] = {
    "I;16": _sixteen_bit,
    "I;16B": _sixteen_bit,
    "I;16L": _sixteen_bit,
    "I;16N": _sixteen_bit,
    "I": _sixteen_bit,
    "F": _floating,
}
