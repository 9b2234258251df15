"""From (seed, split, index) to a scene: which objects, where, on what background."""

from __future__ import annotations

import math
from hashlib import blake2b

import numpy as np

from patchword.data.scenes.objects import (
    COLOURS,
    HELD_OUT,
    PLACES,
    SHAPES,
    SIZES,
    SPLITS,
    Background,
    Scene,
    SceneObject,
)

Composition = tuple[tuple[str, str, str, str], ...]
"""`(shape, colour, size, place)` of each object in reading order: equal sets of objects are equal tuples."""

RADII = {"small": (0.100, 0.112), "large": (0.147, 0.155)}
MAX_ANGLE = math.radians(5)
MAX_SHADE = 0.04
NOISE_KNOTS = 5
"""The background noise is a grid of this many knots a side."""

_SEEN = tuple((shape, colour) for shape in SHAPES for colour in COLOURS if (shape, colour) not in HELD_OUT)
_UNSEEN = tuple(sorted(HELD_OUT))
_SHARES = ("train",) * 6 + ("val", "test")
_REPEAT = 0.15  # without repeats, hardly a scene would have two equal objects to count
_CELL_MARGIN = 0.01
_GREY = (0.36, 0.64)  # clear of both black and white
_TINT = 0.07
_NOISE = 0.05


def random_stream(seed: int, split: str, index: int, purpose: int) -> np.random.Generator:
    """The generator of one scene for one purpose.

    Callers draw with `random` alone: doubles straight from the bits of PCG64, the same in every numpy
    version, where the distributions may change.
    """
    return np.random.Generator(np.random.PCG64([seed, SPLITS.index(split) + len(SPLITS) * purpose, index]))


def composition_split(composition: Composition) -> str:
    """The one split in which this set of objects may occur, whatever the seed.

    Objects are `(shape, colour, size, place)` in any order. A held-out pair makes it `novel`; a hash
    of the whole decides otherwise: 6/8 train, 1/8 val, 1/8 test.
    """
    if any((shape, colour) in HELD_OUT for shape, colour, _, _ in composition):
        return "novel"
    text = "|".join(map(",".join, sorted(composition)))
    return _SHARES[blake2b(text.encode(), digest_size=1).digest()[0] % len(_SHARES)]


def compose(seed: int, split: str, index: int, max_objects: int) -> Scene:
    """Draw scene `index`, which has `1 + index % max_objects` objects."""
    generator = random_stream(seed, split, index, purpose=0)
    count = 1 + index % max_objects
    composition = _composition(split, count, generator)
    while composition_split(composition) != split:
        composition = _composition(split, count, generator)
    looks = generator.random((count, 5)).tolist()
    objects = tuple(_place(*kind, look) for kind, look in zip(composition, looks))
    return Scene(objects, _background(generator), split, index)


def _composition(split: str, count: int, generator: np.random.Generator) -> Composition:
    numbers = generator.random((count, 4)).tolist()
    free = list(range(len(PLACES)))
    cells = sorted(free.pop(int(row[0] * len(free))) for row in numbers)
    kinds: list[tuple[str, str, str]] = []
    for repeat, pair, size in (row[1:] for row in numbers):
        if kinds and repeat < _REPEAT:
            kinds.append(kinds[int(pair * len(kinds))])
        else:
            kinds.append((*_SEEN[int(pair * len(_SEEN))], SIZES[int(size * len(SIZES))]))
    if split == "novel":
        which, pair = generator.random(2).tolist()
        chosen = int(which * count)
        kinds[chosen] = (*_UNSEEN[int(pair * len(_UNSEEN))], kinds[chosen][2])
    return tuple((*kind, PLACES[cell]) for kind, cell in zip(kinds, cells))


def _place(shape: str, colour: str, size: str, place: str, look: list[float]) -> SceneObject:
    """Give an object its exact place: it stays inside its cell, so objects never overlap."""
    row, column = divmod(PLACES.index(place), 3)
    low, high = RADII[size]
    radius = low + (high - low) * look[0]
    slack = 1 / 6 - _CELL_MARGIN - radius
    return SceneObject(
        shape,
        colour,
        size,
        place,
        x=(column + 0.5) / 3 + slack * (2 * look[1] - 1),
        y=(row + 0.5) / 3 + slack * (2 * look[2] - 1),
        radius=radius,
        angle=MAX_ANGLE * (2 * look[3] - 1),
        shade=MAX_SHADE * (2 * look[4] - 1),
    )


def _background(generator: np.random.Generator) -> Background:
    numbers = generator.random(9 + NOISE_KNOTS**2).tolist()
    ends = []
    for grey, *tints in (numbers[:4], numbers[4:8]):
        level = _GREY[0] + (_GREY[1] - _GREY[0]) * grey
        red, green, blue = (level + _TINT * (2 * tint - 1) for tint in tints)
        ends.append((red, green, blue))
    noise = tuple(_NOISE * (2 * number - 1) for number in numbers[9:])
    return Background(ends[0], ends[1], 2 * math.pi * numbers[8], noise)
