from __future__ import annotations

import numpy as np
import pytest

from patchword.data.decode import decode
from patchword.data.encode import encode_for_page, encode_png
from patchword.data.resize import Size

RANDOM = np.random.default_rng(5)


def noise(*shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, shape, dtype=np.uint8)


def smooth(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(rows / (17 + c)) + np.cos(columns / (23 - c)) for c in range(3)]
    return (127.5 + 60 * np.stack(waves, -1)).astype(np.uint8)


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 5, 3), (1, 300, 3), (64, 64, 3)])
def test_png_keeps_every_pixel(shape) -> None:
    pixels = noise(*shape)
    np.testing.assert_array_equal(decode(encode_png(pixels), 10**6), pixels)


def test_png_of_a_view_and_with_opacity() -> None:
    pixels = noise(6, 8, 3)
    np.testing.assert_array_equal(decode(encode_png(pixels[::-2, ::2]), 10**6), pixels[::-2, ::2])
    clear = np.concatenate([pixels, np.zeros((6, 8, 1), np.uint8)], -1)
    assert (decode(encode_png(clear), 10**6) == 255).all()  # transparent parts show white


def test_a_small_picture_is_kept_exactly() -> None:
    pixels = noise(128, 96, 3)
    data, mime, size = encode_for_page(pixels, 360)
    assert (mime, size) == ("image/png", Size(128, 96))
    np.testing.assert_array_equal(decode(data, 10**6), pixels)


def test_a_large_picture_becomes_a_small_jpeg() -> None:
    pixels = smooth(600, 900)
    data, mime, size = encode_for_page(pixels, 360)
    assert (mime, size) == ("image/jpeg", Size(240, 360))
    shown = decode(data, 10**6)
    assert shown.shape == (240, 360, 3)
    assert len(data) < 20_000
    middles = pixels[1::5, 1::5][: 240 // 2, : 360 // 2]  # every second pixel of the shrunken picture
    assert np.abs(shown[::2, ::2].astype(int) - middles.astype(int)).mean() < 5


@pytest.mark.parametrize(
    ("shape", "size"), [((5000, 1, 3), (360, 1)), ((1, 2000, 3), (1, 360)), ((360, 360, 3), (360, 360))]
)
def test_sides(shape, size) -> None:
    encoded = encode_for_page(noise(*shape), 360)
    assert encoded.size == size
    assert decode(encoded.data, 10**6).shape[:2] == size


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((4, 4), "uint8"), ((3, 4, 5), "uint8"), ((0, 4, 3), "uint8"), ((4, 4, 3), "float64"), ((4, 4, 1), "uint8")],
)
def test_what_is_no_picture(shape, dtype) -> None:
    pixels = np.zeros(shape, dtype)
    with pytest.raises(ValueError, match=r"a picture is uint8 \[h, w, 3"):
        encode_png(pixels)
    with pytest.raises(ValueError, match=r"a picture is uint8 \[h, w, 3\], got"):
        encode_for_page(pixels, 100)
