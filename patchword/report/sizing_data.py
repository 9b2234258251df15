"""From the record of a step to what is drawn of it: memory over time and at the peak, arithmetic against traffic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from itertools import accumulate, groupby
from typing import NamedTuple

from patchword.sizing.tracing.record import OPTIMIZER, Record

CATEGORIES: tuple[str, ...] = (
    "parameters",
    "buffers",
    "inputs",
    "ema",
    "optimizer",
    "gradients",
    "activations",
    "cache",
    "temporaries",
    "workspaces",
    "libraries",
)
"""What memory is for, in the order in which it is stacked; a category that is not here comes last."""

_LEAST_SPAN = 0.02  # share of a step, below which a phase's operations are told with those around them

Name = Callable[[str], str]
"""A module's path to its component."""


class Column(NamedTuple):
    """A stretch of the step, drawn as one: what is there at its fullest moment."""

    start: int
    end: int
    """Places of operations, the end not included."""
    live: dict[str, int]
    """Bytes by category."""

    @property
    def total(self) -> int:
        """Bytes of all categories."""
        return sum(self.live.values())


class Span(NamedTuple):
    """One phase's part of the step."""

    phase: str
    start: int
    end: int


class Timeline(NamedTuple):
    """Memory over a step."""

    columns: tuple[Column, ...]
    spans: tuple[Span, ...]
    categories: tuple[str, ...]
    """Those that occur, in the order of stacking."""
    peak: int
    """Bytes."""
    place: int
    """The operation at which it is reached."""
    during: str
    """That operation, in words."""


def timeline(record: Record, most: int = 360) -> Timeline:
    """Memory over a step in at most `most` columns; the peak is one of them exactly."""
    changes: dict[str, list[int]] = {}
    for block in record.blocks:
        change = changes.setdefault(record.category(block), [0] * (len(record.ops) + 1))
        change[max(block.born, 0)] += block.size
        if block.died is not None:
            change[block.died] -= block.size
    live = {category: list(accumulate(change)) for category, change in changes.items()}
    categories = tuple(sorted(live, key=rank))
    peak, place = record.peak()
    totals, every = record.live(), max(1, -(-len(record.ops) // most))
    columns = []
    for start in range(0, len(record.ops), every):
        end = min(start + every, len(record.ops))
        fullest = max(range(start, end), key=totals.__getitem__)
        columns.append(Column(start, end, {category: live[category][fullest] for category in categories}))
    spans = []
    for phase, places in groupby(range(len(record.ops)), key=lambda at: record.ops[at].phase):
        found = list(places)
        spans.append(Span(phase, found[0], found[-1] + 1))
    during = ""
    if record.ops:
        op = record.ops[place]
        during = f"{op.name} {'of ' + op.module if op.module else 'outside of all modules'}, {op.phase}"
    return Timeline(tuple(columns), tuple(_merged(spans)), categories, peak, place, during)


def rank(category: str) -> int:
    """Place of a category in the order of stacking."""
    return CATEGORIES.index(category) if category in CATEGORIES else len(CATEGORIES)


def _merged(spans: list[Span]) -> list[Span]:
    """Without the odd operations that run beside their phase: a loss that makes its gradient at once, in chunks."""
    least = _LEAST_SPAN * spans[-1].end if spans else 0
    kept: list[Span] = []
    for span in spans:
        short = span.phase != OPTIMIZER and span.end - span.start < least
        if kept and (kept[-1].phase == span.phase or short):
            kept[-1] = kept[-1]._replace(end=span.end)
        else:
            kept.append(span)
    return kept


def at_peak(record: Record, name: Name) -> dict[str, dict[str, int]]:
    """Bytes at the peak by component and, in the order of stacking, category; the largest component first."""
    found: dict[str, Counter[str]] = {}
    for block in record.there(record.peak()[1]):
        if block.size:
            found.setdefault(name(block.module), Counter())[record.category(block)] += block.size
    largest = sorted(found, key=lambda part: -found[part].total())
    return {part: {c: found[part][c] for c in sorted(found[part], key=rank)} for part in largest}


class Kind(NamedTuple):
    """All operations of one name in one component."""

    component: str
    op: str
    count: int  # pyright: ignore[reportIncompatibleMethodOverride]
    flops: int
    """Arithmetic of all of them."""
    moved: int
    """Bytes that they read and write."""

    @property
    def intensity(self) -> float:
        """FLOPs a byte."""
        return self.flops / self.moved


def kinds(record: Record, name: Name) -> list[Kind]:
    """The operations that compute and move something, by component and name."""
    found: dict[tuple[str, str], list[int]] = {}
    for op in record.ops:
        flops, moved = op.work.hardware + op.work.vector, op.read + op.written
        if flops and moved:
            sums = found.setdefault((name(op.module), op.name), [0, 0, 0])
            for index, value in enumerate((1, flops, moved)):
                sums[index] += value
    return [Kind(component, op, *sums) for (component, op), sums in found.items()]


def peak_at(batch: int, measured: Mapping[int, Mapping[str, int]]) -> int:
    """Bytes at the peak with another batch: each phase is a line through its two nearest known batches.

    Args:
        batch: samples.
        measured: most bytes of each phase at two batches or more.
    """
    if batch in measured:
        return max(measured[batch].values())
    known = sorted(measured)
    above = next((index for index, size in enumerate(known) if size > batch), len(known) - 1)
    low, high = known[max(above, 1) - 1], known[max(above, 1)]
    share = (batch - low) / (high - low)
    lows, highs = measured[low], measured[high]
    return round(max(lows.get(p, 0) + share * (highs[p] - lows.get(p, 0)) for p in highs))
