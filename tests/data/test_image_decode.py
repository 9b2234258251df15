from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import EVERY_FILE, FILES, LIMIT, RGB, distance, encode, oriented, photo, refused, rng
from PIL import Image, ImageOps

from patchword.data.decode import BadImage, decode
from patchword.data.orientation import jpeg_orientation


@EVERY_FILE
def test_formats(name: str) -> None:
    data, expected, tolerance = FILES[name]
    pixels = decode(data, LIMIT)
    assert pixels.dtype == np.uint8
    assert pixels.flags["C_CONTIGUOUS"]
    assert pixels.flags["WRITEABLE"]
    assert distance(pixels, expected) <= tolerance


def test_jpeg_equals_pillow() -> None:
    for name in ("jpeg", "jpeg progressive", "jpeg grey", "jpeg cmyk"):
        with Image.open(io.BytesIO(FILES[name][0])) as image:
            assert distance(decode(FILES[name][0], LIMIT), np.asarray(image.convert("RGB"))) == 0


def test_16_bits_are_scaled_not_clipped() -> None:
    grey = rng.integers(0, 65536, (20, 30), dtype=np.uint16)
    pixels = decode(encode(Image.fromarray(grey), "PNG"), LIMIT)
    assert np.abs(pixels[:, :, 0] - grey / 257).max() <= 0.5


def test_more_than_16_bits_are_refused() -> None:
    numbers = rng.integers(70_000, 2**31 - 1, (5, 6), dtype=np.int32)
    assert refused(encode(Image.fromarray(numbers), "TIFF")).reason == "unreadable"
    assert refused(encode(Image.fromarray(rng.random((5, 6), dtype=np.float32)), "TIFF")).reason == "unreadable"


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparent_parts_are_white(kind: str) -> None:
    rgba = rng.integers(0, 256, (20, 30, 4), dtype=np.uint8)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    alpha = rgba[:, :, 3:] / 255
    expected = rgba[:, :, :3] * alpha + 255 * (1 - alpha)
    pixels = decode(encode(Image.fromarray(rgba), kind, **options), LIMIT)
    assert np.abs(pixels - expected).max() <= 1


def test_transparent_grey_and_palette() -> None:
    la = rng.integers(0, 256, (20, 30, 2), dtype=np.uint8)
    alpha = la[:, :, 1] / 255
    pixels = decode(encode(Image.fromarray(la, "LA"), "PNG"), LIMIT)
    assert np.abs(pixels[:, :, 1] - (la[:, :, 0] * alpha + 255 * (1 - alpha))).max() <= 1

    palette = Image.fromarray(rng.integers(0, 4, (20, 30), dtype=np.uint8))
    palette = palette.convert("P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    index = np.asarray(palette)
    for kind, hidden in (("PNG", 2), ("PNG", bytes([255, 255, 0, 255])), ("GIF", 2)):
        pixels = decode(encode(palette, kind, transparency=hidden), LIMIT)
        assert (pixels[index == 2] == 255).all()
        assert (pixels[index == 3] == (100, 110, 120)).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_several(kind: str) -> None:
    frames = [Image.fromarray(np.full((16, 16, 3), value, np.uint8)) for value in (40, 120, 200)]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert distance(decode(data, LIMIT), np.asarray(frames[0])) <= 1


# ------------------------------------------------------------------ orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "CMYK", "PNG", "WEBP", "TIFF"])
def test_orientation(kind: str, orientation: int) -> None:
    image = Image.fromarray(photo(40, 72))
    options = {"lossless": True} if kind == "WEBP" else {}
    if kind == "CMYK":
        data = oriented("JPEG", image.convert("CMYK"), orientation)
    else:
        data = oriented(kind, image, orientation, **options)
    with Image.open(io.BytesIO(data)) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened.convert("RGB")))
    assert expected.shape[:2] == ((40, 72) if orientation < 5 else (72, 40))
    if orientation > 1:
        assert expected.shape != (40, 72, 3) or distance(expected, np.asarray(image)) > 50
    assert distance(decode(data, LIMIT), expected) == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_a_scaled_jpeg(orientation: int) -> None:
    data = oriented("JPEG", Image.fromarray(photo(256, 512)), orientation)
    sideways = orientation >= 5
    pixels = decode(data, LIMIT, (128, 60) if sideways else (60, 128))
    full = decode(data, LIMIT)
    small = np.asarray(Image.fromarray(full).resize((64, 128) if sideways else (128, 64), Image.Resampling.BOX))
    assert pixels.shape == small.shape
    assert np.abs(pixels.astype(int) - small).mean() < 1


def exif_jpeg(tiff: bytes) -> bytes:
    segment = b"Exif\0\0" + tiff
    return b"\xff\xd8\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + FILES["jpeg"][0][2:]


@pytest.mark.parametrize("order", ["<", ">"])
def test_orientation_is_read_in_both_byte_orders(order: str) -> None:
    entries = struct.pack(order + "HHHI4s", 2, 0x0110, 2, 4, b"abc\0") + struct.pack(
        order + "HHIHH", 0x0112, 3, 1, 6, 0
    )
    data = exif_jpeg((b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8) + entries)
    assert jpeg_orientation(data) == 6
    assert decode(data, LIMIT).shape == (64, 48, 3)


@given(st.binary(max_size=60), st.sampled_from([b"", b"II*\0", b"MM\0*", b"II*\0\x08\0\0\0\xff\xff"]))
@settings(max_examples=100, deadline=None)
def test_damaged_exif_is_ignored(noise: bytes, start: bytes) -> None:
    data = exif_jpeg(start + noise)
    assert 1 <= jpeg_orientation(data) <= 8
    assert sorted(decode(data, LIMIT).shape) == [3, 48, 64]


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_orientations_that_do_not_exist_are_ignored(value: int) -> None:
    tiff = b"MM\0*" + struct.pack(">IHHHIHH", 8, 1, 0x0112, 3, 1, value, 0)
    assert jpeg_orientation(exif_jpeg(tiff)) == 1


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_orientation_of_anything(data: bytes) -> None:
    assert 1 <= jpeg_orientation(b"\xff\xd8" + data) <= 8


# ------------------------------------------------------------------ decoding at a smaller scale


@pytest.mark.parametrize(
    ("at_least", "expected"),
    [
        (None, (400, 603)),
        ((401, 1), (400, 603)),
        ((201, 10), (400, 603)),
        ((200, 301), (200, 302)),
        ((100, 100), (100, 151)),
        ((1, 1), (50, 76)),
    ],
)
def test_hint_gives_a_size_that_is_large_enough(at_least: tuple[int, int] | None, expected: tuple[int, int]) -> None:
    data = encode(Image.fromarray(photo(400, 603)), "JPEG")
    assert decode(data, LIMIT, at_least).shape[:2] == expected
    other = encode(Image.fromarray(photo(400, 603)), "PNG")
    assert decode(other, LIMIT, at_least).shape[:2] == (400, 603)


def test_hint_does_not_soften_the_limit() -> None:
    data = encode(Image.fromarray(photo(400, 600)), "JPEG")
    with pytest.raises(BadImage, match="too many pixels"):
        decode(data, 400 * 600 - 1, (10, 10))


def test_fast_path_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_pillow(*args: object, **options: object) -> None:
        raise AssertionError("Pillow was used")

    monkeypatch.setattr(Image, "open", not_pillow)
    data = simplejpeg.encode_jpeg(np.ascontiguousarray(RGB), quality=95)
    assert distance(decode(data, LIMIT), RGB) <= 16
