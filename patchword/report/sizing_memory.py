"""Memory drawn: over a step, at its peak, and against the size of the batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from patchword.report.axes import Scale, value_scale
from patchword.report.drawing import Frame, at, drawing, figure, key, text, x_axis, y_axis
from patchword.report.markup import Html, node
from patchword.report.sizing_data import CATEGORIES, Column, Timeline, peak_at, rank
from patchword.sizing.amounts import in_bytes
from patchword.sizing.planning.devices import Device

_COLOURS: dict[str, int] = dict(zip(CATEGORIES, (0, 7, 6, 8, 3, 4, 1, 2, 5, 9, 10), strict=True))
_MOST_STRIPS = 90
_LARGEST = 2**24  # samples, where a curve over the batch ends at the latest


def _colour(category: str) -> int:
    return _COLOURS.get(category, 10)


def _byte_scale(most: int) -> tuple[Scale, float, str]:
    """A scale in the unit that suits, that unit's bytes, and its name."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if most >= 2 * size:
            return value_scale([0.0, most / size], from_zero=True), size, unit
    return value_scale([0.0, float(most)], from_zero=True), 1.0, "bytes"


# ------------------------------------------------------------------ over a step


def timeline_chart(found: Timeline) -> Html:
    """Stacked bytes by category over the operations of a step, with the peak marked."""
    frame = Frame()
    y, size, unit = _byte_scale(found.peak)
    x = Scale(0, found.columns[-1].end, (), 0)
    parts: list[Html | None] = [*y_axis(frame, y, y.label, unit)]
    parts += [_area(frame, found, index, x, y, size) for index in range(len(found.categories))]
    parts += [*_phases(frame, found, x), *_strips(frame, found, x), *_peak(frame, found, x, y, size)]
    top = next(c for c in found.columns if c.start <= found.place < c.end).live
    keys = [
        key(_colour(c), c, in_bytes(top[c]))
        for c in reversed(found.categories)
        if any(k.live[c] for k in found.columns)
    ]
    said = ", ".join(f"{c} {in_bytes(top[c])}" for c in found.categories if top[c])
    label = f"Memory over the operations of a step. Peak {in_bytes(found.peak)} during {found.during}: {said}."
    return figure("Memory over a step", "by what it is for; figures at the peak", keys, drawing(frame, label, parts))


def _area(frame: Frame, found: Timeline, index: int, x: Scale, y: Scale, size: float) -> Html:
    """One category between those below and those above it."""
    category, below = found.categories[index], found.categories[:index]
    lower, upper = [], []
    for column in found.columns:
        base = sum(column.live[c] for c in below)
        for place in (column.start, column.end):
            across = at(frame.x(x, place))
            lower.append(f"{across} {at(frame.y(y, base / size))}")
            upper.append(f"{across} {at(frame.y(y, (base + column.live[category]) / size))}")
    path = "M" + "L".join([*upper, *reversed(lower)]) + "Z"
    return node("path", {"class": f"area c{_colour(category)}", "d": path})


def _phases(frame: Frame, found: Timeline, x: Scale) -> list[Html]:
    parts, bottom = [], frame.height - frame.bottom
    for span in found.spans:
        left, right = frame.x(x, span.start), frame.x(x, span.end)
        if span.start:
            parts.append(node("line", {"class": "edge", "x1": at(left), "x2": at(left), "y1": frame.top, "y2": bottom}))
        if right - left > 60:
            parts.append(text((left + right) / 2, bottom + 18, span.phase))
    count = f"operations, in order ({found.columns[-1].end:,})"
    return [*parts, text((frame.left + frame.width - frame.right) / 2, frame.height - 6, count)]


def _peak(frame: Frame, found: Timeline, x: Scale, y: Scale, size: float) -> list[Html]:
    across, up = frame.x(x, found.place + 0.5), frame.y(y, found.peak / size)
    left = across > frame.width / 2
    said = f"peak {in_bytes(found.peak)}"
    return [
        node(
            "line",
            {"class": "mark", "x1": at(across), "x2": at(across), "y1": at(up), "y2": frame.height - frame.bottom},
        ),
        node("circle", {"class": "mark", "cx": at(across), "cy": at(up), "r": 4}, node("title", None, found.during)),
        text(across + (-10 if left else 10), max(up - 6, frame.top), said, "end" if left else "start", "strong"),
    ]


def _strips(frame: Frame, found: Timeline, x: Scale) -> list[Html]:
    """Upright strips that say, while the pointer is there, what is in memory."""
    every = -(-len(found.columns) // _MOST_STRIPS)
    parts = []
    for start in range(0, len(found.columns), every):
        group = found.columns[start : start + every]
        fullest: Column = max(group, key=lambda column: column.total)
        lines = [f"{in_bytes(fullest.total)} at operation {fullest.start:,}"]
        lines += [f"{c} {in_bytes(fullest.live[c])}" for c in reversed(found.categories) if fullest.live[c]]
        left, right = frame.x(x, group[0].start), frame.x(x, group[-1].end)
        area = {
            "x": at(left),
            "y": frame.top,
            "width": at(right - left),
            "height": frame.height - frame.top - frame.bottom,
        }
        parts.append(node("g", {"class": "strip"}, node("title", None, "\n".join(lines)), node("rect", area)))
    return parts


# ------------------------------------------------------------------ at the peak


def waterfall(parts: Mapping[str, Mapping[str, int]]) -> Html:
    """Bytes at the peak, component after component, each from where the last one ended; the whole below."""
    total = sum(sum(held.values()) for held in parts.values())
    frame = Frame(height=66 + 30 * (len(parts) + 1), left=150, right=96, top=8)
    scale, size, unit = _byte_scale(total)
    drawn: list[Html | None] = []
    for tick in scale.ticks:
        across = at(frame.x(scale, tick))
        drawn.append(node("line", {"class": "grid", "x1": across, "x2": across, "y1": 8, "y2": frame.height - 46}))
    start, used = 0, dict[str, None]()
    for index, (component, held) in enumerate([*parts.items(), ("all", _by_category(parts))]):
        y, begin = 14 + 30 * index, 0 if component == "all" and index == len(parts) else start
        for category, count in held.items():
            left, right = frame.x(scale, begin / size), frame.x(scale, (begin + count) / size)
            box = {
                "class": f"area c{_colour(category)}",
                "x": at(left),
                "y": y,
                "width": at(max(right - left, 0.5)),
                "height": 20,
            }
            drawn.append(node("rect", box, node("title", None, f"{component}: {category} {in_bytes(count)}")))
            begin, used[category] = begin + count, None
        drawn.append(text(frame.left - 10, y + 15, component, "end"))
        drawn.append(text(frame.x(scale, begin / size) + 8, y + 15, in_bytes(sum(held.values())), "start", "strong"))
        start = begin
    drawn += x_axis(frame, scale, scale.label, unit)
    said = "; ".join(
        f"{name}: " + ", ".join(f"{c} {in_bytes(n)}" for c, n in held.items()) for name, held in parts.items()
    )
    label = f"Memory at the peak by component, {in_bytes(total)} in all. {said}."
    keys = [key(_colour(c), c) for c in CATEGORIES if c in used]
    return figure("Memory at the peak", "by component and what it is for", keys, drawing(frame, label, drawn))


def _by_category(parts: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    sums = {
        c: sum(held.get(c, 0) for held in parts.values()) for c in dict.fromkeys(c for h in parts.values() for c in h)
    }
    return {c: sums[c] for c in sorted(sums, key=rank)}


# ------------------------------------------------------------------ against the batch


def batch_chart(measured: Mapping[int, Mapping[str, int]], batch: int, devices: Sequence[Device]) -> Html:
    """Peak against samples in a batch, both logarithmic, with what devices hold."""
    frame = Frame(right=150)
    held = sorted(devices, key=lambda d: d.memory_bytes)
    last = next((b for e in range(1, 25) if peak_at(b := 2**e, measured) > 1.3 * held[-1].memory_bytes), _LARGEST)
    sizes = sorted(
        {1, batch, *(2**e for e in range(25) if 2**e <= last), *(3 * 2**e for e in range(23) if 3 * 2**e <= last)}
    )
    peaks = {size: max(peak_at(size, measured), 1) for size in sizes}
    x, y = _log_scale(1, max(sizes), 4), _byte_log_scale([*peaks.values(), held[-1].memory_bytes])
    points = [(frame.x(x, size), frame.y(y, peak)) for size, peak in peaks.items()]
    parts: list[Html | None] = [
        *y_axis(frame, y, in_bytes, "bytes at the peak"),
        *x_axis(frame, x, lambda v: f"{v:,.0f}", "samples in a batch"),
    ]
    lines, previous = [], frame.height
    for device in held:
        up = frame.y(y, device.memory_bytes)
        if device.memory_bytes < y.low:
            continue
        across = {"class": "limit", "x1": frame.left, "x2": frame.width - frame.right, "y1": at(up), "y2": at(up)}
        previous = min(up + 4, previous - 15)
        parts += [node("line", across), text(frame.width - frame.right + 6, previous, device.name, "start")]
        lines.append(f"{device.name} ({in_bytes(device.memory_bytes)}): {fitting(measured, device.memory_bytes):,}")
    path = "M" + "L".join(f"{at(a)} {at(b)}" for a, b in points)
    here = {"class": "mark", "cx": at(frame.x(x, batch)), "cy": at(frame.y(y, peaks[batch])), "r": 4}
    note = f"batch of {batch:,}: {in_bytes(peaks[batch])}"
    parts += [
        node("g", {"class": "curve c0"}, node("path", {"d": path})),
        node("circle", here, node("title", None, note)),
    ]
    parts.append(text(frame.x(x, batch) + 8, frame.y(y, peaks[batch]) + 18, note, "start", "strong"))
    label = f"Peak memory against the batch. A {note}. Largest batches that fit: {'; '.join(lines)}."
    return figure("Memory against the batch", "both axes logarithmic", [], drawing(frame, label, parts))


def fitting(measured: Mapping[int, Mapping[str, int]], memory: int) -> int:
    """Most samples whose peak is at most `memory` bytes, by the same lines; 0: none."""
    low, high = 0, 1
    while high <= _LARGEST and peak_at(high, measured) <= memory:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if peak_at(middle, measured) <= memory else (low, middle)
    return low


def _log_scale(low: float, high: float, base: int) -> Scale:
    """Ticks at powers of `base`, from 1."""
    ticks, tick = [], 1
    while tick <= high:
        ticks.append(float(tick))
        tick *= base
    return Scale(low, max(high, 2 * low), tuple(ticks), 0, log=True)


def _byte_log_scale(values: Sequence[int]) -> Scale:
    low, high = min(values) / 1.6, max(values) * 1.6
    powers = [float(2**e) for e in range(0, 60, 2) if low <= 2**e <= high]
    return Scale(low, high, tuple(powers), 0, log=True)
