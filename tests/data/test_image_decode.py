from __future__ import annotations

import io
import pickle
import resource
import struct
import threading
import time
import warnings
import zlib

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from patchword.data.decode import REASONS, BadImage, decode
from patchword.data.orientation import jpeg_orientation

LIMIT = 10_000_000
rng = np.random.default_rng(7)


def photo(height: int = 48, width: int = 64, channels: int = 3) -> np.ndarray:
    """Smooth but random: what lossy formats keep."""
    small = rng.integers(0, 256, (6, 8, channels), dtype=np.uint8)
    planes = [Image.fromarray(small[:, :, c]).resize((width, height), Image.Resampling.BICUBIC) for c in range(channels)]
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


def oriented(kind: str, image: Image.Image, orientation: int, **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    exif[0x0112] = orientation
    return encode(image, kind, exif=exif, **options)


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


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
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


# ------------------------------------------------------------------ faults


def test_empty() -> None:
    assert refused(b"").reason == "empty"


@pytest.mark.parametrize(
    "data",
    [
        b"a",
        b"hello, this is a caption\n" * 20,
        b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        b"\n  <html><head></head></html>",
        b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"></svg>',
        b'{"error": "gone"}',
        bytes(5000),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n",
        b"PK\x03\x04" + bytes(100),
        encode(Image.fromarray(RGB), "ICO"),
    ],
)
def test_not_an_image(data: bytes) -> None:
    assert refused(data).reason == "not an image"


def test_a_web_page_is_named() -> None:
    assert "web page" in refused(b"<!doctype html><p>Please log in").message


@EVERY_FILE
def test_cut_short_is_never_filled_up(name: str) -> None:
    data = FILES[name][0]
    whole = decode(data, LIMIT)
    cuts = {*range(1, 60), *np.linspace(1, len(data) - 1, 60).astype(int).tolist(), *range(len(data) - 16, len(data))}
    reasons = []
    for cut in sorted(cuts):
        try:
            pixels = decode(data[:cut], LIMIT)
        except BadImage as error:
            reasons.append(error.reason)
        else:  # only marks after the last pixel are missing
            assert cut > len(data) - 25
            assert distance(pixels, whole) == 0
    assert set(reasons) <= {"truncated", "unreadable", "not an image"}
    assert reasons[-1] == "truncated" or name == "tiff lzw"  # a TIFF may have its header at the end


@pytest.mark.parametrize("name", ["jpeg", "jpeg progressive", "jpeg grey", "jpeg cmyk"])
def test_truncated_jpeg(name: str) -> None:
    data = FILES[name][0]
    for cut in np.linspace(len(data) * 0.5, len(data) - 1, 40).astype(int):
        assert refused(data[:cut]).reason == "truncated"
    if name != "jpeg cmyk":
        assert refused(data[: len(data) // 2] + b"\xff\xd9").reason == "truncated"


def test_jpeg_with_lost_rows_is_refused() -> None:
    data = encode(Image.fromarray(RGB), "JPEG", restart_marker_blocks=2)
    at = data.index(b"\xff\xd2")
    assert refused(data[:at] + data[at + 2 :]).reason == "unreadable"


@pytest.mark.parametrize("orientation", [1, 6])
def test_jpeg_with_harmless_flaws_is_read(orientation: int) -> None:
    data = oriented("JPEG", Image.fromarray(RGB), orientation)
    expected = decode(data, LIMIT)
    jfif = data.replace(b"JFIF\0\x01\x01", b"JFIF\0\0\0")
    assert jfif != data
    stray = data[:-2] + b"\x01" * 300 + data[-2:]
    for flawed in (jfif, stray, data + b"appended by a phone" * 50):
        assert distance(decode(flawed, LIMIT), expected) == 0


def test_damaged_header_is_unreadable() -> None:
    assert refused(b"\x89PNG\r\n\x1a\n" + rng.bytes(200)).reason == "unreadable"
    assert refused(b"GIF89a" + bytes(3)).reason == "unreadable"


# ------------------------------------------------------------------ the pixel limit


@EVERY_FILE
def test_limit_is_exact(name: str) -> None:
    data = FILES[name][0]
    assert decode(data, 48 * 64).shape == (48, 64, 3)
    assert refused(data, 48 * 64 - 1).reason == "too many pixels"


def huge_png(height: int, width: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def huge_jpeg() -> bytes:
    data = FILES["jpeg"][0]
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", 65500, 65500) + data[at + 4 :]


def huge_webp() -> bytes:
    data = FILES["webp lossless"][0]
    at = data.index(b"VP8L") + 9
    bits = struct.unpack("<I", data[at : at + 4])[0] & 0xF0000000 | 16382 | 16382 << 14
    return data[:at] + struct.pack("<I", bits) + data[at + 4 :]


HUGE = {
    "png": huge_png(30_000, 30_000),
    "png beyond memory": huge_png(2**31 - 1, 2**31 - 1),
    "png of 100 megapixels": huge_png(10_000, 10_000),
    "jpeg": huge_jpeg(),
    "webp": huge_webp(),
    "gif": FILES["gif"][0][:6] + b"\xff\xff\xff\xff" + FILES["gif"][0][10:],
    "bmp": FILES["bmp"][0][:18] + struct.pack("<ii", 30_000, 30_000) + FILES["bmp"][0][26:],
    "ppm": b"P6 30000 30000 255 " + bytes(100),
}


@pytest.mark.parametrize("name", HUGE)
def test_huge_pictures_are_refused_by_their_header(name: str) -> None:
    refused(FILES["png"][0], 1)  # whatever is loaded at the first use is loaded now
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    error = refused(HUGE[name], 50_000_000)
    assert time.perf_counter() - start < 0.25
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB
    assert error.reason == "too many pixels"


def test_pillows_own_limit_says_the_same() -> None:
    assert refused(HUGE["png"], 10**12).reason == "too many pixels"


def test_between_pillows_warning_and_its_limit_ours_decides() -> None:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        filters = list(warnings.filters)
        assert refused(HUGE["png of 100 megapixels"], 10**9).reason == "truncated"
        assert warnings.filters == filters
    assert not heard


# ------------------------------------------------------------------ hostile bytes, threads, processes


@given(st.binary(max_size=400), st.sampled_from([b"", *(data[:30] for data, _, _ in FILES.values())]))
@settings(max_examples=300, deadline=None)
def test_random_bytes(noise: bytes, start: bytes) -> None:
    try:
        pixels = decode(start + noise, 100_000)
    except BadImage as error:
        assert error.reason in REASONS
    else:
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] == 3


@given(st.sampled_from(sorted(FILES)), st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_files(name: str, choose: st.DataObject) -> None:
    data = bytearray(FILES[name][0])
    for _ in range(choose.draw(st.integers(1, 4))):
        data[choose.draw(st.integers(0, len(data) - 1))] = choose.draw(st.integers(0, 255))
    try:
        pixels = decode(bytes(data), 100_000, (20, 20))
    except BadImage as error:
        assert error.reason in REASONS
    else:
        assert pixels.ndim == 3
        assert pixels.size > 0


def test_threads_leave_the_warning_filters_alone() -> None:
    filters = list(warnings.filters)
    wrong = []

    def work() -> None:
        for _ in range(20):
            if distance(decode(FILES["png"][0], LIMIT), RGB) or refused(HUGE["gif"], LIMIT).reason != "too many pixels":
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert warnings.filters == filters


def test_bad_image_can_be_sent_between_processes() -> None:
    error = pickle.loads(pickle.dumps(BadImage("truncated", "ends at byte 7")))
    assert (error.reason, error.message, str(error)) == (
        "truncated",
        "ends at byte 7",
        "truncated: ends at byte 7",
    )


def test_fast_path_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_pillow(*args: object, **options: object) -> None:
        raise AssertionError("Pillow was used")

    monkeypatch.setattr(Image, "open", not_pillow)
    data = simplejpeg.encode_jpeg(np.ascontiguousarray(RGB), quality=95)
    assert distance(decode(data, LIMIT), RGB) <= 16
