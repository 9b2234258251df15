from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from patchword.config.data import AugmentConfig
from patchword.data.augment import Changes, alter, crop_box, draw
from patchword.data.resize import Size

rng = np.random.default_rng(5)
NOTHING = Changes(1.0, 1.0, 0.5, 0.5, False, (0.0, 0.0), 1.0, 1.0, 1.0)
EVERYTHING = AugmentConfig(crop=0.3, ratio=1.5, flip=0.5, brightness=0.4, contrast=0.4, saturation=0.4, shift=0.2)
KNOBS = {
    "crop": {"area"},
    "flip": {"flip"},
    "shift": {"shift"},
    "brightness": {"brightness"},
    "contrast": {"contrast"},
    "saturation": {"saturation"},
}


def noise(height: int = 24, width: int = 30) -> torch.Tensor:
    return torch.from_numpy(rng.integers(0, 256, (3, height, width), dtype=np.uint8))


def test_draws_depend_on_all_three_numbers_and_nothing_else() -> None:
    first = draw(EVERYTHING, 3, 4, 5)
    np.random.seed(1)
    torch.manual_seed(1)
    assert draw(EVERYTHING, 3, 4, 5) == first
    others = {draw(EVERYTHING, *numbers) for numbers in [(4, 4, 5), (3, 5, 5), (3, 4, 6), (5, 4, 3), (3, 45, 0)]}
    assert len(others | {first}) == 6


def test_draws_are_not_those_of_a_generator_of_the_same_seed() -> None:
    share = (draw(AugmentConfig(brightness=1.0), 3, 4, 5).brightness) / 2
    assert not np.isclose(np.random.default_rng((3, 4, 5)).random(50), share, atol=1e-9).any()


@pytest.mark.parametrize("knob", KNOBS)
def test_turning_a_knob_leaves_the_other_draws(knob: str) -> None:
    config = AugmentConfig(crop=0.3, flip=0.5, brightness=0.4, contrast=0.4, saturation=0.4, shift=0.2)
    off = AugmentConfig.from_dict(config.to_dict() | {knob: 1.0 if knob == "crop" else 0.0})
    changed = set()
    for index in range(20):
        with_it, without = draw(config, 0, 0, index), draw(off, 0, 0, index)
        changed |= {name for name in Changes._fields if getattr(with_it, name) != getattr(without, name)}
    assert changed == KNOBS[knob]


def test_no_knob_no_change() -> None:
    for index in range(5):
        changes = draw(AugmentConfig(), 0, 0, index)
        assert changes._replace(down=0.5, across=0.5) == NOTHING
        pixels = noise()
        assert torch.equal(alter(pixels, changes), pixels)


def test_draws_fill_their_ranges_and_no_more() -> None:
    draws = [draw(EVERYTHING, 0, 0, index) for index in range(2000)]
    limits = {"area": (0.3, 1.0), "brightness": (0.6, 1.4), "contrast": (0.6, 1.4), "saturation": (0.6, 1.4)}
    for name, (low, high) in limits.items():
        values = np.array([getattr(d, name) for d in draws])
        assert low <= values.min() < low + 0.01
        assert high - 0.01 < values.max() <= high
        assert abs(values.mean() - (low + high) / 2) < 0.03
    shifts = np.array([d.shift for d in draws])
    assert 0.19 < np.abs(shifts).max() <= 0.2
    assert np.abs(shifts.mean(0)).max() < 0.02
    assert abs(np.mean([d.flip for d in draws]) - 0.5) < 0.05
    names = ("area", "down", "across", "flip", "brightness", "contrast", "saturation")
    together = np.corrcoef([*([getattr(d, name) for d in draws] for name in names), *shifts.T])
    assert np.abs(together - np.eye(len(together))).max() < 0.1
    stretch = np.log([d.stretch for d in draws])
    assert np.abs(stretch).max() <= math.log(1.5)
    assert abs(stretch.mean()) < 0.03


@pytest.mark.parametrize(("flip", "share"), [(0.0, 0.0), (1.0, 1.0), (0.2, 0.2)])
def test_chance_of_a_mirror_image(flip: float, share: float) -> None:
    flips = [draw(AugmentConfig(flip=flip), 1, 0, index).flip for index in range(1000)]
    assert abs(np.mean(flips) - share) < 0.05 * (0 < share < 1) + 1e-9


# ------------------------------------------------------------------ the crop


def test_crops_keep_their_area_and_reach_every_corner() -> None:
    size = keep = Size(200, 300)
    boxes = [crop_box(draw(EVERYTHING, 0, 1, index), size, keep) for index in range(1500)]
    areas = np.array([box.height * box.width / (200 * 300) for box in boxes])
    assert areas.min() > 0.3 - 0.01
    assert areas.max() <= 1
    ratios = np.log([box.width / box.height / 1.5 for box in boxes])
    assert np.abs(ratios).max() < math.log(1.5) + 0.02
    assert ratios.std() > 0.1
    assert min(box.top for box in boxes) == min(box.left for box in boxes) == 0
    assert max(box.top + box.height for box in boxes) == 200
    assert max(box.left + box.width for box in boxes) == 300


def test_stretched_crops_keep_their_area_too() -> None:
    config = AugmentConfig(crop=0.9, ratio=2.0)
    boxes = [crop_box(draw(config, 0, 1, index), Size(500, 400), Size(500, 400)) for index in range(500)]
    assert min(box.height * box.width for box in boxes) >= 0.895 * 500 * 400


def test_crops_also_look_into_what_is_usually_cut() -> None:
    boxes = [crop_box(draw(AugmentConfig(crop=0.8), 0, 0, index), Size(40, 200), Size(40, 40)) for index in range(300)]
    assert all(box.height <= 40 and box.width <= 40 for box in boxes)
    assert all(box.height * box.width >= 0.75 * 40 * 40 for box in boxes)
    assert min(box.left for box in boxes) < 10
    assert max(box.left + box.width for box in boxes) > 190


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (3, 2)])
def test_crops_of_the_smallest_pictures(size: tuple[int, int]) -> None:
    for index in range(50):
        top, left, height, width = crop_box(draw(EVERYTHING, 0, 0, index), Size(*size), Size(*size))
        assert 0 <= top < top + height <= size[0]
        assert 0 <= left < left + width <= size[1]


# ------------------------------------------------------------------ what is done to pixels


def test_flip() -> None:
    pixels = noise()
    assert torch.equal(alter(pixels, NOTHING._replace(flip=True)), torch.from_numpy(pixels.numpy()[:, :, ::-1].copy()))


@pytest.mark.parametrize("shift", [(0.25, 0.0), (-0.25, 0.0), (0.0, 0.1), (0.1, -0.4), (1.0, -1.0), (0.01, 0.01)])
def test_shift_repeats_the_edge(shift: tuple[float, float]) -> None:
    pixels = noise()
    rows = np.clip(np.arange(24) - round(shift[0] * 24), 0, 23)
    columns = np.clip(np.arange(30) - round(shift[1] * 30), 0, 29)
    moved = alter(pixels, NOTHING._replace(shift=shift))
    expected = pixels.numpy()[:, rows][:, :, columns]
    assert np.array_equal(moved.numpy(), expected)


@pytest.mark.parametrize(
    ("brightness", "contrast", "saturation"),
    [
        (1.3, 1.0, 1.0),
        (0.5, 1.0, 1.0),
        (1.0, 1.6, 1.0),
        (1.0, 0.4, 1.0),
        (1.0, 1.0, 0.0),
        (1.0, 1.0, 1.9),
        (0.8, 1.3, 0.6),
    ],
)
def test_colours_equal_the_plain_formulas(brightness: float, contrast: float, saturation: float) -> None:
    pixels = noise()
    luma = np.array([0.299, 0.587, 0.114])[:, None, None]
    plain = pixels.numpy().astype(float) * brightness
    plain = contrast * plain + (1 - contrast) * (plain * luma).sum(0).mean()
    plain = saturation * plain + (1 - saturation) * (plain * luma).sum(0)
    out = alter(pixels, NOTHING._replace(brightness=brightness, contrast=contrast, saturation=saturation))
    assert out.dtype == torch.uint8
    assert np.abs(out.numpy() - np.clip(plain, 0, 255)).max() <= 0.51
    assert not torch.equal(out, pixels)


def test_saturation_leaves_grey_pictures() -> None:
    grey = noise()[:1].expand(3, -1, -1).contiguous()
    out = alter(grey, NOTHING._replace(saturation=1.7))
    assert (out.int() - grey.int()).abs().max() <= 1


def test_input_is_not_written_to() -> None:
    pixels = noise()
    before = pixels.clone()
    for index in range(10):
        alter(pixels, draw(EVERYTHING, 0, 0, index))
    assert torch.equal(pixels, before)


def test_threads_change_no_bit() -> None:
    pixels, threads = noise(200, 250), torch.get_num_threads()
    results = []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            results.append([alter(pixels, draw(EVERYTHING, 0, 0, index)) for index in range(5)])
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other))
