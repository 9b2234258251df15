from __future__ import annotations

import hashlib
import io
import os
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from patchword.config import UserError
from patchword.config.data import AugmentConfig, ImageConfig
from patchword.data import image as module
from patchword.data.augment import crop_box, draw
from patchword.data.image import REASONS, BadImage, ImagePipeline, decode
from patchword.data.resize import Size

PHOTOS = Path(__file__).parents[2] / "../shared/data/flickr8k/images.tar"
rng = np.random.default_rng(9)

ALL = AugmentConfig(crop=0.4, ratio=1.3, flip=0.5, brightness=0.3, contrast=0.3, saturation=0.3, shift=0.1)
UNCUT = ALL.replace(crop=1.0, ratio=1.0)


def photo(height: int = 90, width: int = 140) -> np.ndarray:
    small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    return np.array(small.resize((width, height), Image.Resampling.BICUBIC))


def encode(pixels: np.ndarray, kind: str = "JPEG", **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def pipeline(seed: int = 0, **settings: Any) -> ImagePipeline:
    return ImagePipeline(ImageConfig.from_dict({"height": 32, "width": 48} | settings), seed)


@pytest.fixture(autouse=True)
def own_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


JPEG, PNG = encode(photo()), encode(photo(), "PNG")


@pytest.mark.parametrize("augment", [None, (0, 0)])
@pytest.mark.parametrize("changes", [AugmentConfig(), UNCUT, ALL])
@pytest.mark.parametrize("resize", ["stretch", "crop", "pad", "fit"])
def test_what_comes_out(resize: str, changes: AugmentConfig, augment: tuple[int, int] | None) -> None:
    make = pipeline(resize=resize, augment=changes)
    for picture in (JPEG, PNG, photo(), photo(1, 300), photo(300, 1), photo(1, 1)):
        out = make(picture, "a", augment)
        assert out.dtype == torch.uint8
        assert out.is_contiguous()
        assert out.shape == (3, 32, 48) or resize == "fit"
        assert out.shape[1] % 8 == out.shape[2] % 8 == 0
        assert out.shape[1] <= 32
        assert out.shape[2] <= 48


def test_exported_names() -> None:
    assert "truncated" in REASONS
    assert decode(PNG, 10**6).shape == (90, 140, 3)


def test_bad_files_raise() -> None:
    for make in (pipeline(), pipeline(cache="memory"), pipeline(augment=ALL)):
        for data, reason in ((b"", "empty"), (JPEG[:900], "truncated"), (b"caption", "not an image")):
            with pytest.raises(BadImage) as caught:
                make(data, "a", (0, 0))
            assert caught.value.reason == reason
    with pytest.raises(BadImage, match="too many pixels"):
        pipeline(max_pixels=90 * 140 - 1)(JPEG, "a", None)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 5), np.uint8),
        np.zeros((4, 5, 4), np.uint8),
        np.zeros((4, 5, 3), np.float32),
        np.zeros((3, 4, 5), np.uint8),
    ],
)
def test_wrong_arrays_raise(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"uint8 \[h, w, 3\]"):
        pipeline()(pixels, "a", None)


def test_empty_arrays_are_bad_pictures() -> None:
    with pytest.raises(BadImage, match="empty"):
        pipeline()(np.zeros((0, 5, 3), np.uint8), "a", None)


@pytest.mark.parametrize("cache", ["none", "memory", "disk"])
@pytest.mark.parametrize("size", [(32, 48), (50, 50)])
def test_arrays_may_be_read_only_or_reversed_and_stay_as_they_are(size: tuple[int, int], cache: str) -> None:
    make, pixels = pipeline(cache=cache), photo(*size)
    before, reversed_copy = pixels.copy(), pixels[::-1, ::-1].copy()
    pixels.flags.writeable = False
    first = make(pixels, "a", None)
    assert torch.equal(make(pixels[::-1, ::-1], "b", None), make(reversed_copy, "c", None))
    again = first.clone()
    first.zero_()
    assert (pixels == before).all()
    assert torch.equal(make(pixels, "a", None), again)


def test_ratio_without_crop_is_refused() -> None:
    with pytest.raises(UserError, match=r"ratio: 1\.5 stretches nothing without a crop"):
        pipeline(augment=AugmentConfig(ratio=1.5))


# ------------------------------------------------------------------ sharpness


def busy_photo(height: int, width: int) -> np.ndarray:
    """Structure at every scale, as in photos: the share of detail falls with its frequency."""
    total = np.zeros((height, width, 3))
    for side in (4, 8, 16, 32, 64, 128, 256):
        grid = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
        total += np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)) / side**0.5
    total -= total.min()
    return (total / total.max() * 255).astype(np.uint8)


BUSY_JPEG, BUSY_PNG = encode(busy_photo(600, 900)), encode(busy_photo(600, 900), "PNG")


def test_scaled_decode_is_close_to_the_full_one() -> None:
    pixels = busy_photo(960, 1280)
    data = encode(pixels, quality=95)
    out = pipeline(height=72, width=96)(data, "a", None)
    with Image.open(io.BytesIO(data)) as image:
        full = np.asarray(image.resize((96, 72), Image.Resampling.BICUBIC)).transpose(2, 0, 1).astype(int)
    assert decode(data, 10**7, (216, 288)).shape == (240, 320, 3)
    off = np.abs(out.numpy() - full)
    assert off.mean() < 0.7
    assert np.quantile(off, 0.999) <= 4


@pytest.mark.parametrize(("changes", "hint"), [(AugmentConfig(), (96, 144)), (AugmentConfig(crop=0.25), (192, 288))])
def test_scaled_decode_leaves_three_pixels_for_one(
    changes: AugmentConfig, hint: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def spy(data: bytes, max_pixels: int, at_least: tuple[int, int]) -> np.ndarray:
        asked.append((max_pixels, at_least))
        return decode(data, max_pixels, at_least)

    monkeypatch.setattr(module, "decode", spy)
    pipeline(augment=changes, max_pixels=12_345_678)(JPEG, "a", (0, 0))
    assert asked == [(12_345_678, hint)]


@pytest.mark.parametrize("resize", ["stretch", "crop", "pad", "fit"])
def test_whole_picture_has_enough_pixels_for_the_smallest_crop(resize: str) -> None:
    make = pipeline(resize=resize, augment=AugmentConfig(crop=0.25, ratio=1.44))
    zoom = 2 * 1.2
    for data in (BUSY_JPEG, BUSY_PNG):
        height, width = make._whole(data, "a").shape[:2]
        assert zoom * 32 <= height < 600
        assert zoom * 48 <= width < 900
    # a side that has too few is left as it is
    assert resize in ("pad", "fit") or make._whole(photo(20, 500), "a").shape[0] == 20


def test_crops_show_parts_of_the_picture() -> None:
    """Each crop is found again in the picture that it was cut from, at the place and scale that were drawn."""
    pixels = busy_photo(256, 256)
    make = pipeline(height=64, width=64, resize="stretch", augment=AugmentConfig(crop=0.2))
    seen = set()
    for index in range(8):
        out = make(pixels, "a", (0, index)).numpy().astype(float)
        changes = draw(make.config.augment, 0, 0, index)
        top, left, height, width = crop_box(changes, Size(256, 256), Size(256, 256))
        part = Image.fromarray(pixels[top : top + height, left : left + width])
        expected = np.asarray(part.resize((64, 64), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
        assert np.abs(out - expected).mean() < 6  # the whole was shrunk first, which moves edges by part of a pixel
        seen.add((top, left, height, width))
    assert len(seen) == 8


# ------------------------------------------------------------------ random changes


def test_changes_repeat_and_differ() -> None:
    make = pipeline(augment=ALL)
    first = make(JPEG, "a", (1, 2))
    assert torch.equal(make(JPEG, "other name", (1, 2)), first)
    assert torch.equal(pipeline(augment=ALL)(JPEG, "a", (1, 2)), first)
    for other in (make(JPEG, "a", (2, 2)), make(JPEG, "a", (1, 3)), pipeline(1, augment=ALL)(JPEG, "a", (1, 2))):
        assert not torch.equal(other, first)
    plain = make(JPEG, "a", None)
    assert torch.equal(plain, pipeline()(JPEG, "a", None))
    assert not torch.equal(plain, first)


@pytest.mark.parametrize(
    "knob",
    [{"crop": 0.5}, {"flip": 1.0}, {"shift": 0.3}, {"brightness": 0.5}, {"contrast": 0.5}, {"saturation": 0.5}],
)
def test_each_knob_changes_something(knob: dict[str, Any]) -> None:
    make = pipeline(augment=AugmentConfig(**knob))
    plain = make(JPEG, "a", None)
    assert not any(torch.equal(make(JPEG, "a", (0, index)), plain) for index in range(3))


def test_no_knob_changes_nothing() -> None:
    make = pipeline()
    plain = make(JPEG, "a", None)
    assert all(torch.equal(make(JPEG, "a", (epoch, 5)), plain) for epoch in range(3))


DIGEST = """
import hashlib, sys
import torch
from patchword.config.data import AugmentConfig, ImageConfig
from patchword.data.image import ImagePipeline

torch.set_num_threads(int(sys.argv[1]))
changes = AugmentConfig(crop=0.4, ratio=1.3, flip=0.5, brightness=0.3, contrast=0.3, saturation=0.3, shift=0.1)
make = ImagePipeline(ImageConfig(height=32, width=48, augment=changes), 7)
data = sys.stdin.buffer.read()
digest = hashlib.sha256()
for index in range(6):
    digest.update(make(data, "a", (3, index)).numpy().tobytes())
print(digest.hexdigest())
"""


def test_other_processes_make_the_same_changes() -> None:
    make = pipeline(7, augment=ALL)
    digest = hashlib.sha256()
    for index in range(6):
        digest.update(make(JPEG, "a", (3, index)).numpy().tobytes())
    command = [sys.executable, "-c", DIGEST, "3"]
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    other = subprocess.run(command, input=JPEG, capture_output=True, check=True, env=environment)
    assert other.stdout.decode().strip() == digest.hexdigest()


# ------------------------------------------------------------------ the cache


@pytest.mark.parametrize("cache", ["memory", "disk"])
@pytest.mark.parametrize("changes", [AugmentConfig(), UNCUT, ALL])
@pytest.mark.parametrize("resize", ["stretch", "crop", "pad", "fit"])
def test_cache_changes_no_bit(resize: str, changes: AugmentConfig, cache: str, monkeypatch: pytest.MonkeyPatch) -> None:
    large = encode(busy_photo(300, 400))
    plain = pipeline(resize=resize, augment=changes)
    kept = pipeline(resize=resize, augment=changes, cache=cache)
    expected = [plain(data, key, augment) for key, data in (("a", JPEG), ("b", large)) for augment in (None, (0, 3))]
    for attempt in range(3):
        results = [kept(data, key, augment) for key, data in (("a", JPEG), ("b", large)) for augment in (None, (0, 3))]
        assert all(torch.equal(a, b) for a, b in zip(results, expected))
        for result in results:
            result.zero_()
        if attempt == 0:  # from now on nothing is decoded
            monkeypatch.setattr(module, "decode", None)


def test_cache_tells_contents_and_settings_apart() -> None:
    one, two = encode(photo()), encode(photo())
    for cache in ("memory", "disk"):
        make = pipeline(cache=cache)
        assert not torch.equal(make(one, "a", None), make(two, "a", None))
        assert torch.equal(make(one, "a", None), pipeline()(one, "a", None))
    others: list[dict[str, Any]] = [{"resize": "stretch"}, {"resize": "pad"}, {"height": 40}, {"width": 32}]
    for settings in others:
        pipeline(cache="disk")(one, "a", None)
        expected = pipeline(**settings)(one, "a", None)
        assert torch.equal(pipeline(cache="disk", **settings)(one, "a", None), expected)


def test_disk_cache_tells_crops_apart() -> None:
    for changes in (ALL, ALL.replace(crop=0.1), ALL.replace(ratio=2.0)):
        for index in range(2):
            expected = pipeline(augment=changes)(BUSY_JPEG, "a", (0, index))
            assert torch.equal(pipeline(augment=changes, cache="disk")(BUSY_JPEG, "a", (0, index)), expected)


def test_disk_cache_does_not_lift_the_limit() -> None:
    pipeline(cache="disk")(JPEG, "a", None)
    with pytest.raises(BadImage, match="too many pixels"):
        pipeline(cache="disk", max_pixels=100)(JPEG, "a", None)


@pytest.mark.parametrize("cache", ["none", "memory", "disk"])
def test_pipelines_can_be_sent_to_workers(cache: str) -> None:
    make = pipeline(cache=cache, augment=ALL)
    first = make(JPEG, "a", (0, 1))
    sent = pickle.dumps(make)
    assert len(sent) < 5000
    assert torch.equal(pickle.loads(sent)(JPEG, "a", (0, 1)), first)


# ------------------------------------------------------------------ real photos


@pytest.mark.skipif(not PHOTOS.exists(), reason="the shared photos are not here")
def test_real_photos_look_as_pillow_makes_them() -> None:
    make = pipeline(height=112, width=112, resize="stretch")
    with tarfile.open(PHOTOS) as archive:
        for _, member in zip(range(40), (m for m in archive if m.name.endswith(".jpg"))):
            file = archive.extractfile(member)
            assert file is not None
            data = file.read()
            with Image.open(io.BytesIO(data)) as image:
                expected = np.asarray(image.convert("RGB").resize((112, 112), Image.Resampling.BICUBIC))
            off = np.abs(make(data, member.name, None).numpy() - expected.transpose(2, 0, 1).astype(int))
            assert off.max() <= 2
            assert off.mean() < 0.05
