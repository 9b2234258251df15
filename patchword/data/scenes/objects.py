"""What a scene is made of: the fixed vocabulary and the records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

SPLITS = ("train", "val", "test", "novel")
SHAPES = ("circle", "square", "triangle", "star", "cross", "diamond")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "black", "white")
SIZES = ("small", "large")
PLACES = (
    "top left",
    "top centre",
    "top right",
    "middle left",
    "centre",
    "middle right",
    "bottom left",
    "bottom centre",
    "bottom right",
)
"""The cells of a 3 x 3 grid in reading order: rows top to bottom, then left to right."""

HELD_OUT = frozenset(
    {
        ("circle", "orange"),
        ("square", "white"),
        ("triangle", "purple"),
        ("star", "green"),
        ("cross", "yellow"),
    }
)
"""Pairs (shape, colour) seen in no split but `novel`; each shape and each colour keeps other partners."""

CELLS = {place: index for index, place in enumerate(PLACES)}


class Kind(NamedTuple):
    """What a caption says of an object; objects of one kind are counted together."""

    size: str
    colour: str
    shape: str


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One shape in one cell; `x, y` (centre) are shares of width and height, `radius` of the shorter side.

    `radius` is the circle within whose bounding square the shape stays, `angle` is in radians (clockwise)
    and `shade` is added to each colour channel (0 to 1).
    """

    shape: str
    colour: str
    size: str
    place: str
    x: float
    y: float
    radius: float
    angle: float
    shade: float

    @property
    def kind(self) -> Kind:
        """Its size, colour and shape."""
        return Kind(self.size, self.colour, self.shape)

    @property
    def cell(self) -> int:
        """The index of `place` in `PLACES`."""
        return CELLS[self.place]


@dataclass(frozen=True, slots=True)
class Background:
    """A tinted gradient with soft noise: two end colours (0 to 1), its angle (radians), a coarse grid of noise."""

    start: tuple[float, float, float]
    end: tuple[float, float, float]
    angle: float
    noise: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Scene:
    """The objects in reading order on a background: all that `SceneWorld.draw` needs."""

    objects: tuple[SceneObject, ...]
    background: Background
    split: str
    index: int


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a scene, its one right answer, and its kind (one of `QUESTION_KINDS`)."""

    text: str
    answer: str
    kind: str
