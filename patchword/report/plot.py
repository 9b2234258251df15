"""Line plots as inline SVG: coloured by the page's style sheet, with the values at the pointer, without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean

from patchword.report.amounts import percent, whole
from patchword.report.axes import Scale, step_scale, value_scale
from patchword.report.curves import Figure, Line, Point
from patchword.report.markup import Html, join, node

WIDTH, HEIGHT = 520, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 20, 12, 32
_COLOURS = 6
_MOST_POINTS = 300
_MOST_STRIPS = 80
_DOTS = 40  # a line with at most so many points shows each


def plot(figure: Figure) -> Html:
    """A `<figure>` with its title, the latest values, and the curves."""
    x, y = _scales(figure)
    missing = sum(point.value is None for line in figure.lines for point in line.points)
    notes = [figure.unit or None, "logarithmic" if y.log else None]
    if missing:
        notes.append(f"{whole(missing)} value{'s' if missing > 1 else ''} not finite")
    heading = node("span", {"class": "name"}, figure.title)
    unit = node("span", {"class": "unit"}, join((note for note in notes if note), ", "))
    keys = [_key(figure, number, line) for number, line in enumerate(figure.lines)]
    caption = node("figcaption", None, heading, " ", unit, node("span", {"class": "keys"}, *keys))
    return node("figure", {"class": "plot"}, caption, _drawing(figure, x, y))


def _key(figure: Figure, number: int, line: Line) -> Html:
    """A line's colour, name and latest value."""
    swatch = node("span", {"class": f"swatch c{_colour(figure, number)}"})
    value = node("b", None, figure.write(line.points[-1].value))
    return node("span", {"class": "key"}, swatch, line.label or "latest", " ", value)


def _drawing(figure: Figure, x: Scale, y: Scale) -> Html:
    thin = [Line(line.label, _thinned(line.points)) for line in figure.lines]
    curves = [_curve(line.points, x, y, _colour(figure, number)) for number, line in enumerate(thin)]
    label = f"{figure.title} by step. " + " ".join(_spoken(figure, line) for line in figure.lines)
    attributes = {"viewBox": f"0 0 {WIDTH} {HEIGHT}", "role": "img", "aria-label": label}
    return node("svg", attributes, *_axes(figure, x, y), *curves, *_strips(figure, thin, x, y))


def _scales(figure: Figure) -> tuple[Scale, Scale]:
    points = [point for line in figure.lines for point in line.points]
    values = [point.value for point in points if point.value is not None]
    return step_scale([point.step for point in points]), value_scale(
        values or [0.0], figure.may_be_log, figure.from_zero
    )


def _axes(figure: Figure, x: Scale, y: Scale) -> list[Html]:
    share = figure.write is percent
    parts = []
    for tick in y.ticks:
        at = _at(_y(y, tick))
        parts.append(node("line", {"class": "grid", "x1": _LEFT, "x2": WIDTH - _RIGHT, "y1": at, "y2": at}))
        text = {"x": _LEFT - 8, "y": at, "dy": "0.35em", "text-anchor": "end"}
        parts.append(node("text", text, y.label(tick, share)))
    for tick in x.ticks:
        text = {"x": _at(_x(x, tick)), "y": HEIGHT - 8, "text-anchor": "middle"}
        parts.append(node("text", text, x.label(tick)))
    return parts


def _curve(points: Sequence[Point], x: Scale, y: Scale, colour: int) -> Html:
    """The line, broken at gaps; dots where points are few or stand alone."""
    path, dots, pen_down = "", [], False
    for index, (step, value) in enumerate(points):
        if value is None:
            pen_down = False
            continue
        at = _at(_x(x, step)), _at(_y(y, value))
        path += f"{'L' if pen_down else 'M'}{at[0]} {at[1]}"
        alone = not pen_down and (index + 1 == len(points) or points[index + 1].value is None)
        if alone or len(points) <= _DOTS:
            dots.append(node("circle", {"cx": at[0], "cy": at[1], "r": 2.6}))
        pen_down = True
    return node("g", {"class": f"curve c{colour}"}, node("path", {"d": path}) if path else None, *dots)


def _strips(figure: Figure, lines: Sequence[Line], x: Scale, y: Scale) -> list[Html]:
    """Upright strips that each show, while the pointer is there, the values next to them."""
    steps = sorted({point.step for line in lines for point in line.points})
    every = -(-len(steps) // _MOST_STRIPS)
    groups = [steps[start : start + every] for start in range(0, len(steps), every)]
    edges = [_x(x, (before[-1] + after[0]) / 2) for before, after in pairwise(groups)]
    strips = []
    for group, left, right in zip(groups, [_LEFT, *edges], [*edges, WIDTH - _RIGHT]):
        area = {"x": _at(left), "y": _TOP, "width": _at(right - left), "height": HEIGHT - _TOP - _BOTTOM}
        parts, texts = [node("rect", area)], []
        for number, line in enumerate(lines):
            inside = [p for p in line.points if group[0] <= p.step <= group[-1]]
            if not inside:
                continue
            step, value = inside[-1]
            name = f"{line.label} " if line.label else ""
            texts.append(f"step {whole(step)}: {name}{'not finite' if value is None else figure.write(value)}")
            if value is not None:
                dot = {"class": f"c{_colour(figure, number)}", "cx": _at(_x(x, step)), "cy": _at(_y(y, value)), "r": 4}
                parts.append(node("circle", dot))
        strips.append(node("g", {"class": "strip"}, node("title", None, "\n".join(texts)), *parts))
    return strips


def _spoken(figure: Figure, line: Line) -> str:
    """A line in words, for who cannot see it."""
    found = [(value, step) for step, value in line.points if value is not None]
    name = line.label[:1].upper() + line.label[1:] or "It"
    if not found:
        return f"{name} has no finite value."
    (first, start), (last, end) = found[0], found[-1]
    least, most = min(found), max(found)
    return (
        f"{name} goes from {figure.write(first)} at step {whole(start)} to {figure.write(last)} at step "
        f"{whole(end)}; lowest {figure.write(least[0])} at {whole(least[1])}, highest {figure.write(most[0])} at "
        f"{whole(most[1])}."
    )


def _thinned(points: tuple[Point, ...]) -> tuple[Point, ...]:
    """At most `_MOST_POINTS` points, each the mean of its neighbours."""
    every = -(-len(points) // _MOST_POINTS)
    if every <= 1:
        return points
    thin = []
    for start in range(0, len(points), every):
        part = points[start : start + every]
        values = [point.value for point in part if point.value is not None]
        thin.append(Point(fmean(point.step for point in part), fmean(values) if values else None))
    return tuple(thin)


def _colour(figure: Figure, number: int) -> int:
    return (figure.first_colour + number) % _COLOURS


def _x(scale: Scale, step: float) -> float:
    return _LEFT + scale.place(step) * (WIDTH - _LEFT - _RIGHT)


def _y(scale: Scale, value: float) -> float:
    return HEIGHT - _BOTTOM - scale.place(value) * (HEIGHT - _TOP - _BOTTOM)


def _at(place: float) -> str:
    return f"{place:.1f}".removesuffix(".0")
