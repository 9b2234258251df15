"""Lines over two logarithmic axes as one SVG file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 380, 70, 150, 34, 40
COLOURS = ("#222222", "#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b")

Points = Sequence[tuple[float, float]]


def loglog(title: str, x_name: str, y_name: str, lines: Mapping[str, Points]) -> str:
    """An SVG with a line a name; every value is above zero."""
    points = [point for line in lines.values() for point in line]
    xs = _range([x for x, _ in points], 2)
    ys = _range([y for _, y in points], 10)

    def at(x: float, y: float) -> tuple[float, float]:
        across = (math.log(x) - math.log(xs[0])) / (math.log(xs[1]) - math.log(xs[0]))
        up = (math.log(y) - math.log(ys[0])) / (math.log(ys[1]) - math.log(ys[0]))
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [_text(LEFT, 18, title, weight="bold"), _text(WIDTH - RIGHT, HEIGHT - 6, x_name, "end")]
    parts.append(_text(6, TOP - 4, y_name))
    for y in _ticks(ys, 10):
        (left, up), right = at(xs[0], y), WIDTH - RIGHT
        parts.append(f'<line x1="{left:.1f}" x2="{right}" y1="{up:.1f}" y2="{up:.1f}" stroke="#cccccc"/>')
        parts.append(_text(left - 6, up + 4, f"{y:g}", "end"))
    for x in _ticks(xs, 2):
        across, bottom = at(x, ys[0])
        parts.append(_text(across, bottom + 16, f"{x:,.0f}", "middle"))
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        dashed = ' stroke-dasharray="5 3"' if number >= len(COLOURS) else ""
        places = " ".join(f"{a:.1f},{b:.1f}" for a, b in (at(*point) for point in line))
        parts.append(f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"{dashed}/>')
        parts.append(_text(WIDTH - RIGHT + 10, TOP + 18 * number + 8, name, colour=colour))
    body = "\n".join(parts)
    style = 'font-family="sans-serif" font-size="12"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {style}>\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def _range(values: Sequence[float], base: int) -> tuple[float, float]:
    low, high = math.floor(math.log(min(values), base)), math.ceil(math.log(max(values), base))
    return float(base) ** low, float(base) ** max(high, low + 1)


def _ticks(ends: tuple[float, float], base: int) -> list[float]:
    first, last = (round(math.log(end, base)) for end in ends)
    return [float(base) ** power for power in range(first, last + 1)]


def _text(
    x: float, y: float, words: str, anchor: str = "start", weight: str = "normal", colour: str = "#222222"
) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}">{words}</text>'
