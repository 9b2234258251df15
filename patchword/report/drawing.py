"""What wide drawings share: the frame of a figure, its axes, and places in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from patchword.report.axes import Scale
from patchword.report.markup import Html, join, node


class Frame(NamedTuple):
    """A drawing's size and margins, in the units of its view box."""

    width: int = 1080
    height: int = 340
    left: int = 76
    right: int = 24
    top: int = 22
    bottom: int = 46

    def x(self, scale: Scale, value: float) -> float:
        """Where a value stands from left to right."""
        return self.left + scale.place(value) * (self.width - self.left - self.right)

    def y(self, scale: Scale, value: float) -> float:
        """Where a value stands from the top down."""
        return self.height - self.bottom - scale.place(value) * (self.height - self.top - self.bottom)


def at(place: float) -> str:
    """A place, to a tenth."""
    return f"{place:.1f}".removesuffix(".0")


def figure(title: str, unit: str, keys: Sequence[Html], drawing: Html) -> Html:
    """A drawing under its title, unit and keys."""
    caption = node(
        "figcaption",
        None,
        node("span", {"class": "name"}, title),
        " ",
        node("span", {"class": "unit"}, unit),
        node("span", {"class": "keys"}, *keys) if keys else None,
    )
    return node("figure", {"class": "plot"}, caption, drawing)


def key(colour: int, label: str, value: str = "") -> Html:
    """What a colour stands for."""
    swatch = node("span", {"class": f"swatch c{colour}"})
    return node("span", {"class": "key"}, swatch, label, " ", node("b", None, value) if value else None)


def drawing(frame: Frame, label: str, parts: Sequence[Html | None]) -> Html:
    """An inline SVG; `label` says in words what it shows."""
    attributes = {"viewBox": f"0 0 {frame.width} {frame.height}", "role": "img", "aria-label": label}
    return node("svg", attributes, join(parts))


def text(x: float, y: float, said: str, anchor: str = "middle", kind: str | None = None) -> Html:
    """Words at a place."""
    return node("text", {"x": at(x), "y": at(y), "text-anchor": anchor, "class": kind}, said)


def y_axis(frame: Frame, scale: Scale, label: Callable[[float], str], name: str) -> list[Html]:
    """Lines across at the ticks, their values, and the axis' name."""
    parts = [text(8, frame.top - 8, name, "start")]
    for tick in scale.ticks:
        y = frame.y(scale, tick)
        line = {"class": "grid", "x1": frame.left, "x2": frame.width - frame.right, "y1": at(y), "y2": at(y)}
        parts += [node("line", line), text(frame.left - 8, y + 4.5, label(tick), "end")]
    return parts


def x_axis(frame: Frame, scale: Scale, label: Callable[[float], str], name: str) -> list[Html]:
    """Values at the ticks, and the axis' name."""
    y = frame.height - frame.bottom + 18
    parts = [text(frame.x(scale, tick), y, label(tick)) for tick in scale.ticks]
    middle = (frame.left + frame.width - frame.right) / 2
    return [*parts, text(middle, frame.height - 6, name)]
