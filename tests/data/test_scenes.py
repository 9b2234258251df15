"""The embedded scenes: worlds, splits and pictures; `test_scenes_*.py` test their words."""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from patchword.config import UserError
from patchword.data.scenes import (
    COLOURS,
    HELD_OUT,
    PLACES,
    SHAPES,
    SIZES,
    SPLITS,
    Question,
    Scene,
    SceneObject,
    SceneWorld,
    composition_split,
)
from patchword.data.scenes.compose import MAX_SHADE, RADII
from patchword.data.scenes.draw import PALETTE

CHOICE = random.Random(20)
SEEN_SPLITS = ("train", "val", "test")


def composition(scene: Scene) -> tuple[tuple[str, str, str, str], ...]:
    return tuple((item.shape, item.colour, item.size, item.place) for item in scene.objects)


def polygon(shape: str) -> np.ndarray:
    """The corners of a shape of radius 1, y pointing down, from its definition."""
    turns = np.arange(10) * math.pi / 5
    reach = np.where(np.arange(10) % 2 == 0, 1, 0.48)
    long, wide = 0.92, 0.30
    quarter = [(wide, long), (wide, wide), (long, wide)]
    corners = {
        "circle": [(0.86 * math.cos(t), 0.86 * math.sin(t)) for t in np.linspace(0, 2 * math.pi, 200)],
        "square": [(-0.78, -0.78), (0.78, -0.78), (0.78, 0.78), (-0.78, 0.78)],
        "triangle": [(0, -0.8), (math.sqrt(3) / 2, 0.7), (-math.sqrt(3) / 2, 0.7)],
        "star": list(zip(reach * np.sin(turns), -reach * np.cos(turns))),
        "cross": [
            *quarter,
            *((x, -y) for x, y in quarter[::-1]),
            *((-x, -y) for x, y in quarter),
            *((-x, y) for x, y in quarter[::-1]),
        ],
        "diamond": [(0, -1), (0.66, 0), (0, 1), (-0.66, 0)],
    }
    return np.array(corners[shape])


def corners_in_pixels(item: SceneObject, height: int, width: int) -> np.ndarray:
    cos, sin = math.cos(item.angle), math.sin(item.angle)
    turned = polygon(item.shape) @ np.array([[cos, sin], [-sin, cos]])
    return turned * item.radius * min(height, width) + (item.x * width, item.y * height)


def coverage(corners: np.ndarray, height: int, width: int, fine: int = 8) -> np.ndarray:
    """Share of each pixel inside a polygon: even-odd rule at `fine` x `fine` points a pixel."""
    x = (np.arange(width * fine) + 0.5) / fine
    y = ((np.arange(height * fine) + 0.5) / fine)[:, None]
    inside = np.zeros((height * fine, width * fine), bool)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0)):
        if y1 != y2:
            inside ^= ((y1 > y) != (y2 > y)) & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    return inside.reshape(height, fine, width, fine).mean((1, 3))


@pytest.mark.parametrize("split", SPLITS)
def test_a_scene_is_a_function_of_seed_split_and_index(split):
    indices = [*range(40), 10**6, 2**63, 10**30]
    one, two, other = SceneWorld(7), SceneWorld(7, height=96, width=48), SceneWorld(8)
    scenes = [one.scene(split, index) for index in indices]
    backwards = [two.scene(split, index) for index in reversed(indices)]
    assert scenes == backwards[::-1]
    assert all(np.array_equal(one.draw(s), SceneWorld(7).draw(s)) for s in scenes[:10])
    assert one.questions(scenes[3]) == SceneWorld(7).questions(scenes[3])
    assert one.matching(scenes[3]) == SceneWorld(7).matching(scenes[3])
    assert len({composition(s) for s in scenes if len(s.objects) > 2}) > 18
    assert sum(other.scene(split, i) == s for i, s in zip(indices, scenes)) == 0


def test_scenes_are_the_same_on_every_machine():
    world, digest = SceneWorld(0), hashlib.sha256()
    for split in SPLITS:
        for index in range(25):
            scene = world.scene(split, index)
            texts = [*world.captions(scene), *world.captions(scene, "de"), *world.matching(scene)]
            texts += [f"{question.text} {question.answer}" for question in world.questions(scene)]
            digest.update("\n".join(map(str, texts)).encode())
    assert digest.hexdigest()[:16] == "73d5e186d939acc3"


COARSE = [
    [[155.2, 153.0, 133.4], [131.1, 145.9, 157.5], [129.0, 152.9, 126.1]],
    [[134.4, 138.3, 137.3], [103.7, 139.1, 131.5], [132.8, 126.1, 130.5]],
    [[153.9, 134.9, 198.2], [141.7, 150.5, 141.7], [145.2, 147.0, 142.5]],
    [[70.4, 151.5, 124.8], [110.6, 113.5, 101.9], [106.7, 111.3, 118.8]],
]
"""Mean grey [split, row, column] of the nine cells of one picture a split."""


def test_pictures_are_the_same_on_every_machine():
    world = SceneWorld(0)
    pictures = np.stack([world.draw(world.scene(split, 3)) for split in SPLITS]).astype(float)
    coarse = pictures[:, :63, :63].reshape(4, 3, 21, 3, 21, 3).mean((2, 4, 5))
    np.testing.assert_allclose(coarse, COARSE, atol=0.6)


@pytest.mark.parametrize("max_objects", [1, 2, 4, 9])
def test_counts_are_uniform_and_follow_from_the_index(max_objects):
    world = SceneWorld(max_objects=max_objects)
    for index in range(3 * max_objects):
        for split in SPLITS:
            objects = world.scene(split, index).objects
            assert len(objects) == 1 + index % max_objects
            cells = [PLACES.index(item.place) for item in objects]
            assert cells == sorted(set(cells))


def test_every_attribute_is_about_as_frequent_as_its_peers():
    world = SceneWorld(1)
    objects = [item for index in range(2000) for item in world.scene("train", index).objects]
    for name, values in (("shape", SHAPES), ("colour", COLOURS), ("size", SIZES), ("place", PLACES)):
        counts = Counter(getattr(item, name) for item in objects)
        assert set(counts) == set(values)
        assert max(counts.values()) < 1.4 * min(counts.values())


@pytest.mark.parametrize("max_objects", [1, 4])
def test_no_composition_is_in_two_splits_whatever_the_seeds(max_objects):
    found = {
        split: {composition(SceneWorld(seed, max_objects=max_objects).scene(split, i)) for i in range(1500)}
        for seed, split in enumerate(SPLITS)
    }
    for one in SPLITS:
        assert len(found[one]) > (60 if max_objects == 1 else 900)
        assert all(composition_split(objects) == one for objects in found[one])
        assert not any(found[one] & found[other] for other in SPLITS if other != one)


def test_membership_does_not_hang_on_the_order_of_objects():
    world = SceneWorld(2)
    for index in range(3, 400, 4):
        objects = list(composition(world.scene("train", index)))
        CHOICE.shuffle(objects)
        assert composition_split(tuple(objects)) == "train"


def test_novel_is_novel_and_the_rest_is_not():
    world = SceneWorld(3)
    for split in SPLITS:
        pairs = Counter()
        for index in range(1500):
            scene = world.scene(split, index)
            held_out = [(o.shape, o.colour) for o in scene.objects if (o.shape, o.colour) in HELD_OUT]
            assert bool(held_out) == (split == "novel")
            pairs.update((o.shape, o.colour) for o in scene.objects)
        assert len(pairs) == (48 if split == "novel" else 43)
        assert {shape for shape, _ in pairs} == set(SHAPES)
        assert {colour for _, colour in pairs} == set(COLOURS)


def test_objects_stay_in_their_cells_and_sizes_stay_apart():
    world = SceneWorld(4, max_objects=9)
    for index in range(300):
        for item in world.scene("train", index).objects:
            row, column = divmod(PLACES.index(item.place), 3)
            assert column / 3 < item.x - item.radius < item.x + item.radius < (column + 1) / 3
            assert row / 3 < item.y - item.radius < item.y + item.radius < (row + 1) / 3
            assert RADII[item.size][0] <= item.radius <= RADII[item.size][1]
            corners = corners_in_pixels(item, 1, 1)
            assert np.abs(corners - (item.x, item.y)).max() <= item.radius
    assert RADII["large"][0] > 1.3 * RADII["small"][1]


@pytest.mark.parametrize(("height", "width"), [(64, 64), (32, 32), (48, 96), (97, 33), (128, 112)])
def test_pictures_agree_with_polygons_filled_by_brute_force(height, width):
    world = SceneWorld(5, height, width, max_objects=5)
    for index in range(4, 65, 30 if height > 64 else 10):
        scene = world.scene(SPLITS[index // 4 % len(SPLITS)], index)
        picture = world.draw(scene)
        assert picture.shape == (height, width, 3)
        assert picture.dtype == np.uint8
        assert picture.flags.c_contiguous
        expected = world.draw(replace(scene, objects=())).astype(float)
        for item in scene.objects:
            share = coverage(corners_in_pixels(item, height, width), height, width)[..., None]
            colour = 255 * (np.array(PALETTE[item.colour]) + item.shade)
            expected += share * (colour - expected)
        error = np.abs(picture - expected)
        assert error.max() < 0.25 * 255  # a corner inside one pixel
        assert error.mean() < 26 / min(height, width)  # it sits on the outlines


@pytest.mark.parametrize("shape", SHAPES)
def test_colour_and_size_can_be_read_off_the_pixels(shape):
    world = SceneWorld(6)
    areas: dict[str, list[float]] = {"small": [], "large": []}
    for index in range(0, 2400, 4):  # one object each
        scene = world.scene(SPLITS[index // 4 % len(SPLITS)], index)
        (item,) = scene.objects
        if item.shape != shape:
            continue
        picture = world.draw(scene) / 255
        backdrop = world.draw(replace(scene, objects=())) / 255
        colour = np.array(PALETTE[item.colour]) + item.shade
        contrast = ((colour - backdrop) ** 2).sum(-1)
        share = ((picture - backdrop) * (colour - backdrop)).sum(-1) / contrast
        assert contrast.min() > 0.03
        areas[item.size].append(share.sum())
        x, y = polygon(shape).T
        area = 0.5 * abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) * (64 * item.radius) ** 2
        assert share.sum() == pytest.approx(area, rel=0.06, abs=1.5)
        interior = picture[share > 0.99]
        nearest = [min(COLOURS, key=lambda name: math.dist(PALETTE[name], pixel)) for pixel in interior]
        assert len(interior) > 15
        assert set(nearest) == {item.colour}
    assert min(len(found) for found in areas.values()) > 20
    assert min(areas["large"]) > 1.5 * max(areas["small"])


def test_nothing_is_drawn_outside_the_cells_of_the_objects():
    world = SceneWorld(7, 60, 90)
    for index in range(40):
        scene = world.scene("val", index)
        changed = (world.draw(scene) != world.draw(replace(scene, objects=()))).any(-1)
        cells = {PLACES[3 * (row // 20) + column // 30] for row, column in zip(*np.nonzero(changed))}
        assert cells == {item.place for item in scene.objects}


def test_backgrounds_are_varied_but_nearly_grey():
    world = SceneWorld(8)
    pictures = np.stack([world.draw(replace(world.scene("train", i), objects=())) for i in range(200)]) / 255
    assert (pictures.max(-1) - pictures.min(-1)).max() < 0.2
    assert pictures.mean((1, 2, 3)).std() > 0.03
    assert pictures.mean(-1).std((1, 2)).min() > 0.005
    for colour in PALETTE.values():
        assert MAX_SHADE <= min(colour) <= max(colour) <= 1 - MAX_SHADE
        nearest = np.sqrt(((pictures[:, ::8, ::8] - np.array(colour)) ** 2).sum(-1)).min()
        assert nearest > 0.25


def test_wrong_arguments_are_named():
    for wrong, words in (
        ({"seed": -1}, "seed"),
        ({"height": 8}, "8 x 64"),
        ({"width": 0}, "64 x 0"),
        ({"max_objects": 0}, "max_objects"),
        ({"max_objects": 10}, "1 to 9"),
    ):
        with pytest.raises(UserError, match=words):
            SceneWorld(**wrong)
    world = SceneWorld()
    with pytest.raises(UserError, match="did you mean 'train'"):
        world.scene("trian", 0)
    with pytest.raises(UserError, match="-3"):
        world.scene("test", -3)


def test_records_can_be_compared_hashed_and_not_changed():
    world = SceneWorld(9)
    scenes = [world.scene("train", index) for index in range(50)]
    assert len({*scenes, world.scene("train", 5)}) == 50
    assert Question("a?", "b", "count") == Question("a?", "b", "count")
    with pytest.raises(AttributeError):
        scenes[0].index = 3  # type: ignore[misc]
