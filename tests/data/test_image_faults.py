from __future__ import annotations

import pickle
import resource
import struct
import threading
import time
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import EVERY_FILE, FILES, LIMIT, RGB, distance, encode, oriented, refused, rng
from PIL import Image

from patchword.data.decode import REASONS, BadImage, decode


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
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


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
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    error = refused(HUGE[name], 50_000_000)
    assert time.process_time() - start < 0.1
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


OUTCOMES = {*REASONS, "a picture"} - {"missing"}


def outcome(data: bytes) -> str:
    try:
        pixels = decode(data, 100_000, (20, 20))
    except BadImage as error:
        return error.reason
    right = pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 and 0 < pixels.size <= 300_000
    return "a picture" if right else "nonsense"


@given(st.binary(max_size=400), st.sampled_from([b"", *(data[:30] for data, _, _ in FILES.values())]))
@settings(max_examples=150, deadline=None)
def test_random_bytes(noise: bytes, start: bytes) -> None:
    assert outcome(start + noise) in OUTCOMES


@given(st.sampled_from(sorted(FILES)), st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_files(name: str, choose: st.DataObject) -> None:
    data = bytearray(FILES[name][0])
    for _ in range(choose.draw(st.integers(1, 4))):
        data[choose.draw(st.integers(0, len(data) - 1))] = choose.draw(st.integers(0, 255))
    assert outcome(bytes(data)) in OUTCOMES


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
