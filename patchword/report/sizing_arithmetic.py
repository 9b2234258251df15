"""Arithmetic drawn: FLOPs by component, and what a device can make of each kind of operation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from patchword.report.amounts import compact, percent
from patchword.report.axes import Scale, value_scale
from patchword.report.drawing import Frame, at, drawing, figure, key, text, x_axis, y_axis
from patchword.report.markup import Html, node
from patchword.report.sizing_data import Kind
from patchword.sizing.amounts import in_bytes, in_flops
from patchword.sizing.size import Component

_PARTS = (("forward", 0), ("backward", 1), ("recomputed", 3), ("vector", 2))
_COLOURS = (0, 1, 2, 3, 4, 6, 7, 5)
_MOST_DOTS = 60


def flops_chart(components: Sequence[Component]) -> Html:
    """FLOPs of one step by component: products forward, backward and computed again, and all other arithmetic."""
    rows = [(part.name, _counts(part)) for part in components if any(_counts(part))]
    rows.sort(key=lambda row: -sum(row[1]))
    frame = Frame(height=66 + 30 * len(rows), left=150, right=120, top=8)
    most = max((sum(counts) for _, counts in rows), default=1)
    unit, size = next(
        ((u, s) for u, s in (("TFLOP", 1e12), ("GFLOP", 1e9), ("MFLOP", 1e6)) if most >= s), ("FLOP", 1.0)
    )
    scale = value_scale([0.0, most / size], from_zero=True)
    drawn: list[Html | None] = []
    for tick in scale.ticks:
        across = at(frame.x(scale, tick))
        drawn.append(node("line", {"class": "grid", "x1": across, "x2": across, "y1": 8, "y2": frame.height - 46}))
    for index, (name, counts) in enumerate(rows):
        y, begin = 14 + 30 * index, 0
        for (part, colour), count in zip(_PARTS, counts, strict=True):
            left, right = frame.x(scale, begin / size), frame.x(scale, (begin + count) / size)
            box = {"class": f"area c{colour}", "x": at(left), "y": y, "width": at(right - left), "height": 20}
            drawn.append(node("rect", box, node("title", None, f"{name}: {part} {in_flops(count)}")) if count else None)
            begin += count
        drawn.append(text(frame.left - 10, y + 15, name, "end"))
        drawn.append(text(frame.x(scale, begin / size) + 8, y + 15, in_flops(begin), "start", "strong"))
    drawn += x_axis(frame, scale, scale.label, f"{unit} a step")
    sums = [sum(counts[i] for _, counts in rows) for i in range(len(_PARTS))]
    keys = [key(colour, part, in_flops(count)) for (part, colour), count in zip(_PARTS, sums, strict=True) if count]
    said = "; ".join(f"{name} {in_flops(sum(counts))}" for name, counts in rows)
    return figure("FLOPs by component", "of one step", keys, drawing(frame, f"FLOPs by component. {said}.", drawn))


def _counts(part: Component) -> tuple[int, int, int, int]:
    flops = part.flops
    return flops.forward, flops.backward, flops.again, flops.vector


# ------------------------------------------------------------------ roofline


class Roof(NamedTuple):
    """What a device can at most."""

    device: str
    precision: str
    peak: float
    """FLOPs a second."""
    bandwidth: float
    """Bytes a second."""

    def least_seconds(self, kind: Kind) -> float:
        """The least time that these operations need: computing or moving bytes, whichever takes longer."""
        return max(kind.flops / self.peak, kind.moved / self.bandwidth)


def roofline(kinds: Sequence[Kind], roof: Roof) -> Html:
    """Operations under a device's roof (Williams et al. 2009): FLOPs a byte against the FLOPs a second within reach."""
    peak, bandwidth = roof.peak, roof.bandwidth
    times = {kind: roof.least_seconds(kind) for kind in kinds}
    total, shown = sum(times.values()), sorted(kinds, key=lambda kind: -times[kind])[:_MOST_DOTS]
    ridge = peak / bandwidth
    frame = Frame(height=380, left=120)
    low, high = (
        min([k.intensity for k in shown] + [ridge / 10]) / 2,
        max([k.intensity for k in shown] + [ridge * 4]) * 2,
    )
    x, y = _decades(low, high), _decades(low * bandwidth, peak * 2.5)
    corner, floor = (frame.x(x, ridge), frame.y(y, peak)), (frame.x(x, low), frame.y(y, low * bandwidth))
    path = f"M{at(floor[0])} {at(floor[1])}L{at(corner[0])} {at(corner[1])}L{at(frame.x(x, high))} {at(corner[1])}"
    parts: list[Html | None] = [
        *y_axis(frame, y, lambda v: f"{in_flops(v)}/s", "within reach"),
        *x_axis(frame, x, lambda v: f"{v:g}", "arithmetic intensity, FLOPs a byte"),
        node("path", {"class": "roof", "d": path}),
        text(frame.x(x, high) - 4, corner[1] - 8, f"{in_flops(peak)}/s", "end", "strong"),
        text(corner[0] - 12, corner[1] + 4, f"{compact(bandwidth)}B/s", "end", "strong"),
    ]
    names = list(dict.fromkeys(kind.component for kind in shown))
    colours = {name: _COLOURS[index % len(_COLOURS)] for index, name in enumerate(names)}
    for kind in shown:
        share = times[kind] / total
        place = frame.x(x, kind.intensity), frame.y(y, min(peak, kind.intensity * bandwidth))
        dot = {
            "class": f"dot c{colours[kind.component]}",
            "cx": at(place[0]),
            "cy": at(place[1]),
            "r": at(3 + 26 * share**0.5),
        }
        parts.append(node("circle", dot, node("title", None, _spoken(kind, share))))
    bound = sum(times[k] for k in kinds if k.intensity < ridge) / total
    label = (
        f"Roofline of {roof.device} in {roof.precision}: {percent(bound)} of the least time is bound by memory. "
        + "; ".join(_spoken(kind, times[kind] / total) for kind in shown[:8])
    )
    unit = f"of {roof.device} in {roof.precision}; larger dots: more of the least time"
    keys = [key(colour, name) for name, colour in colours.items()]
    return figure("Roofline", unit, keys, drawing(frame, label, parts))


def _spoken(kind: Kind, share: float) -> str:
    what = f"{kind.component}: {kind.op} x {kind.count:,}"
    amounts = f"{in_flops(kind.flops)}, {in_bytes(kind.moved)}, {kind.intensity:.3g} FLOPs a byte"
    return f"{what}, {amounts}, {percent(share)} of the least time"


def _decades(low: float, high: float) -> Scale:
    powers = [10.0**e for e in range(-6, 19) if low <= 10.0**e <= high]
    return Scale(low, high, tuple(powers), 0, log=True)
