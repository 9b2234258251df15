"""Which way up a picture is: the EXIF orientation tag (CIPA DC-008, tag 0x0112)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

ORIENTATION_TAG = 0x0112
_SHORT = 3

_START_OF_SCAN = 0xDA
_APP1 = 0xE1
_BYTE_ORDERS: dict[bytes, Literal["little", "big"]] = {b"II*\0": "little", b"MM\0*": "big"}
_WITHOUT_LENGTH = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})

_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: p.swapaxes(0, 1)[:, ::-1],
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
    8: lambda p: p.swapaxes(0, 1)[::-1],
}

SIDEWAYS = frozenset({5, 6, 7, 8})
"""Orientations that exchange height and width."""


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The picture [h, w, 3] as it is meant to be seen; unknown orientations change nothing."""
    turn = _UPRIGHT.get(orientation)
    return pixels if turn is None else np.ascontiguousarray(turn(pixels))


def jpeg_orientation(data: bytes) -> int:
    """The orientation a JPEG file states, 1 to 8; 1 where it states none or nonsense."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        elif marker == _START_OF_SCAN:
            break
        else:
            length = int.from_bytes(data[at + 2 : at + 4], "big")
            if marker == _APP1 and data[at + 4 : at + 10] == b"Exif\0\0":
                return _tiff_orientation(data[at + 10 : at + 2 + length])
            at += 2 + length
    return 1


def _tiff_orientation(tiff: bytes) -> int:
    order = _BYTE_ORDERS.get(tiff[:4])
    if order is None:
        return 1

    def number(at: int, size: int) -> int:
        return int.from_bytes(tiff[at : at + size], order)

    start = number(4, 4)
    for entry in range(start + 2, min(start + 2 + 12 * number(start, 2), len(tiff) - 11), 12):
        if number(entry, 2) == ORIENTATION_TAG and number(entry + 2, 2) == _SHORT:
            value = number(entry + 8, 2)
            return value if 1 <= value <= 8 else 1
    return 1
