from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from patchword.config import UserError
from patchword.config.data import ImageConfig
from patchword.data.resize import PADDING, RESIZES, Box, Size, Stretch, resample

rng = np.random.default_rng(11)
SIZES = [(128, 128), (37, 53), (300, 200), (64, 200), (16, 12)]


def noise(height: int, width: int) -> np.ndarray:
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def frame(resize: str, height: int, width: int, multiple: int = 8) -> Stretch:
    settings = {"height": height, "width": width, "resize": resize, "multiple": multiple}
    return RESIZES[resize](ImageConfig.from_dict(settings))


def pillow(pixels: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BICUBIC)).transpose(2, 0, 1)


def distance(a: torch.Tensor, b: np.ndarray) -> int:
    assert a.dtype == torch.uint8
    assert a.shape == b.shape
    return int(np.abs(a.numpy().astype(int) - b.astype(int)).max())


@pytest.mark.parametrize("factor", [0.13, 0.5, 0.875, 1.0, 1.4, 3.0])
@pytest.mark.parametrize("size", SIZES)
def test_resample_equals_pillow(size: tuple[int, int], factor: float) -> None:
    pixels = noise(*size)
    target = Size(*(max(1, round(side * factor)) for side in size))
    assert distance(resample(pixels, target), pillow(pixels, target)) <= 2


def test_resample_takes_views() -> None:
    pixels = noise(60, 80)
    part = pixels[7:50, 9:70]
    assert distance(resample(part, Size(20, 30)), pillow(np.ascontiguousarray(part), (20, 30))) <= 2


@pytest.mark.parametrize("size", SIZES)
def test_stretch_equals_pillow(size: tuple[int, int]) -> None:
    pixels = noise(*size)
    scale = 0.4
    out = (round(size[0] * scale), round(size[1] * scale * 0.8))
    assert distance(frame("stretch", *out)(pixels), pillow(pixels, out)) <= 2


@pytest.mark.parametrize(
    ("size", "out", "box"),
    [
        ((100, 200), (50, 50), (0, 50, 100, 100)),
        ((200, 100), (50, 50), (50, 0, 100, 100)),
        ((90, 120), (30, 60), (15, 0, 60, 120)),
        ((120, 90), (30, 60), (37, 0, 45, 90)),
        ((64, 64), (32, 32), (0, 0, 64, 64)),
    ],
)
def test_crop_cuts_from_the_middle(size: tuple[int, int], out: tuple[int, int], box: tuple[int, ...]) -> None:
    pixels = noise(*size)
    top, left, height, width = box
    expected = pillow(np.ascontiguousarray(pixels[top : top + height, left : left + width]), out)
    assert distance(frame("crop", *out)(pixels), expected) <= 2


@pytest.mark.parametrize(
    ("size", "content"),
    [
        ((100, 200), (16, 0, 32, 64)),
        ((200, 100), (0, 16, 64, 32)),
        ((50, 50), (0, 0, 64, 64)),
        ((10, 400), (31, 0, 2, 64)),
    ],
)
def test_pad_keeps_everything(size: tuple[int, int], content: tuple[int, ...]) -> None:
    pixels = noise(*size)
    out = frame("pad", 64, 64)(pixels)
    top, left, height, width = content
    assert out.shape == (3, 64, 64)
    assert distance(out[:, top : top + height, left : left + width], pillow(pixels, (height, width))) <= 2
    around = torch.ones(64, 64, dtype=torch.bool)
    around[top : top + height, left : left + width] = False
    assert (out[:, around] == 127).all()
    assert PADDING == 127


@pytest.mark.parametrize(
    ("size", "out"),
    [
        ((100, 200), (32, 64)),
        ((200, 100), (64, 32)),
        ((100, 100), (64, 64)),
        ((75, 100), (48, 64)),
        ((1, 5000), (8, 64)),
        ((20, 20), (64, 64)),
        ((100, 190), (32, 64)),
    ],
)
def test_fit_rounds_to_multiples(size: tuple[int, int], out: tuple[int, int]) -> None:
    pixels = noise(*size)
    assert frame("fit", 64, 64)(pixels).shape == (3, *out)


def test_fit_never_exceeds_what_it_may() -> None:
    assert frame("fit", 70, 60)(noise(99, 98)).shape == (3, 64, 56)  # 60.6 x 60 would round to 64 x 64
    assert frame("fit", 70, 60, multiple=60)(noise(99, 98)).shape == (3, 60, 60)


def test_fit_without_room_for_a_multiple_is_refused() -> None:
    with pytest.raises(UserError, match=r"multiple: 16 is more than a side of 64 x 15"):
        frame("fit", 64, 15, multiple=16)


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (1, 1), (2, 3000), (1, 2)])
def test_extreme_aspect_ratios(resize: str, size: tuple[int, int]) -> None:
    value = rng.integers(0, 256, 3, dtype=np.uint8)
    out = frame(resize, 64, 48)(np.tile(value, (*size, 1)))
    assert resize == "fit" or out.shape == (3, 64, 48)
    same = (out == torch.from_numpy(value)[:, None, None]).all(0)
    assert same.all() if resize != "pad" else (same | (out == PADDING).all(0)).all()


sides = st.integers(1, 70)


@given(st.sampled_from(sorted(RESIZES)), sides, sides, sides, sides, st.integers(1, 9))
@settings(max_examples=120, deadline=None)
def test_any_size(resize: str, height: int, width: int, out_height: int, out_width: int, multiple: int) -> None:
    multiple = min(multiple, out_height, out_width)
    pixels = noise(height, width)
    out = frame(resize, out_height, out_width, multiple)(pixels)
    assert out.dtype == torch.uint8
    assert out.is_contiguous()
    if resize != "fit":
        assert out.shape == (3, out_height, out_width)
        return
    for side, most in zip(out.shape[1:], (out_height, out_width)):
        assert multiple <= side <= most
        assert side % multiple == 0
    assert max(out.shape[1] / out_height, out.shape[2] / out_width) > 0.5


@pytest.mark.parametrize("resize", RESIZES)
def test_result_is_no_view_of_the_picture(resize: str) -> None:
    pixels = noise(64, 64)
    before = pixels.copy()
    frame(resize, 64, 64)(pixels).zero_()
    assert (pixels == before).all()


@pytest.mark.parametrize("resize", RESIZES)
def test_a_box_is_shown_as_a_picture_of_its_own(resize: str) -> None:
    pixels = noise(90, 120)
    shown = frame(resize, 32, 64)(pixels, Box(10, 20, 40, 80))
    assert distance(shown, frame(resize, 32, 64)(pixels[10:50, 20:100].copy()).numpy()) == 0
