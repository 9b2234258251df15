"""From a scene to pixels: antialiased shapes from signed distances, each in its bounding box only."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from patchword.data.scenes.compose import NOISE_KNOTS
from patchword.data.scenes.objects import Background, Scene, SceneObject

Plane = NDArray[np.floating]

PALETTE = {
    "red": (0.84, 0.09, 0.12),
    "orange": (0.95, 0.50, 0.05),
    "yellow": (0.95, 0.87, 0.12),
    "green": (0.08, 0.60, 0.20),
    "blue": (0.12, 0.28, 0.88),
    "purple": (0.56, 0.14, 0.68),
    "black": (0.05, 0.05, 0.05),
    "white": (0.95, 0.95, 0.95),
}
"""RGB, 0 to 1; every channel keeps `MAX_SHADE` of room on both sides."""

_TRIANGLE_DROP = 0.2  # a triangle's centre of mass is below the middle of its height
_STAR_FOLD = math.pi / 5
_STAR_INNER = 0.48


def _circle(x: Plane, y: Plane) -> Plane:
    return np.hypot(x, y) - 0.86


def _square(x: Plane, y: Plane) -> Plane:
    return np.maximum(np.abs(x), np.abs(y)) - 0.78


def _triangle(x: Plane, y: Plane) -> Plane:
    y = y - _TRIANGLE_DROP
    return np.maximum(y, math.cos(math.pi / 6) * np.abs(x) - 0.5 * y) - 0.5


def _star(x: Plane, y: Plane) -> Plane:
    # Every tenth of a star is the same edge: turn and mirror each point into the first tenth.
    turn = np.arctan2(x, -y)
    turn = np.abs((turn + _STAR_FOLD) % (2 * _STAR_FOLD) - _STAR_FOLD)
    distance = np.hypot(x, y)
    edge_x, edge_y = _STAR_INNER * math.cos(_STAR_FOLD) - 1, _STAR_INNER * math.sin(_STAR_FOLD)
    along = distance * np.cos(turn) - 1
    return (edge_y * along - edge_x * distance * np.sin(turn)) / math.hypot(edge_x, edge_y)


def _cross(x: Plane, y: Plane) -> Plane:
    x, y = np.abs(x), np.abs(y)
    return np.maximum(np.maximum(x, y) - 0.92, np.minimum(x, y) - 0.30)


def _diamond(x: Plane, y: Plane) -> Plane:
    return (np.abs(x) + 0.66 * np.abs(y) - 0.66) / math.hypot(1, 0.66)


OUTLINES: dict[str, Callable[[Plane, Plane], Plane]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "diamond": _diamond,
}
"""The signed distance to each shape's edge in units of its radius, negative inside (y points down)."""


class Painter:
    """Draws scenes at one size, in pixels."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        self._rows = _interpolation(height)
        self._columns = _interpolation(width).T.copy()
        self._y = np.arange(height, dtype=np.float32) + 0.5
        self._x = np.arange(width, dtype=np.float32) + 0.5

    def draw(self, scene: Scene) -> NDArray[np.uint8]:
        """The picture: uint8 [height, width, 3], RGB."""
        canvas = self._rows @ _background_knots(scene.background) @ self._columns  # [3, height, width]
        for item in scene.objects:
            self._paint(canvas, item)
        canvas *= 255
        canvas += 0.5
        pixels = np.empty((self.height, self.width, 3), np.uint8)
        for channel, plane in enumerate(canvas):  # all at once, NumPy would take them three values at a time
            pixels[..., channel] = plane  # palette and shade stay inside 0..1: nothing wraps
        return pixels

    def _paint(self, canvas: Plane, item: SceneObject) -> None:
        radius = item.radius * min(self.height, self.width)
        centre_x, centre_y = item.x * self.width, item.y * self.height
        rows = slice(max(0, int(centre_y - radius - 1)), int(centre_y + radius + 2))
        columns = slice(max(0, int(centre_x - radius - 1)), int(centre_x + radius + 2))
        x = (self._x[columns] - np.float32(centre_x)) / np.float32(radius)
        y = ((self._y[rows] - np.float32(centre_y)) / np.float32(radius))[:, None]
        cos, sin = np.float32(math.cos(item.angle)), np.float32(math.sin(item.angle))
        distance = OUTLINES[item.shape](cos * x + sin * y, cos * y - sin * x)
        coverage = np.minimum(np.maximum(np.float32(0.5) - distance * np.float32(radius), 0), 1)
        colour = np.array(PALETTE[item.colour], np.float32) + np.float32(item.shade)
        box = canvas[:, rows, columns]
        box += coverage * (colour[:, None, None] - box)


def _interpolation(length: int) -> Plane:
    """Weights [length, NOISE_KNOTS] of linear interpolation from knots to pixel centres."""
    position = (np.arange(length) + 0.5) / length * (NOISE_KNOTS - 1)
    weights = 1 - np.abs(position[:, None] - np.arange(NOISE_KNOTS))
    return np.maximum(weights, 0).astype(np.float32)


_KNOTS = np.linspace(-1, 1, NOISE_KNOTS, dtype=np.float32)


def _background_knots(background: Background) -> Plane:
    """The background at the knots [3, NOISE_KNOTS, NOISE_KNOTS]; interpolation keeps its gradient exact."""
    cos, sin = math.cos(background.angle), math.sin(background.angle)
    share = 0.5 + 0.5 * (cos * _KNOTS + sin * _KNOTS[:, None]) / (abs(cos) + abs(sin))
    start = np.array(background.start, np.float32)[:, None, None]
    end = np.array(background.end, np.float32)[:, None, None]
    noise = np.array(background.noise, np.float32).reshape(NOISE_KNOTS, NOISE_KNOTS)
    return (start + (end - start) * share + noise).astype(np.float32)
