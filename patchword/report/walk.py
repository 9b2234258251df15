"""The page of a batch walked through a model: every step with its shape and cost, and who sees whom."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from patchword.report.amounts import compact, percent, whole
from patchword.report.drawing import Frame, at, drawing, figure
from patchword.report.listing import listing
from patchword.report.markup import Html, join, node
from patchword.report.page import document, write_page
from patchword.report.pieces import details, heading, table, tile
from patchword.report.sections import Section
from patchword.sizing.amounts import in_bytes, in_flops
from patchword.sizing.walk.explain import Explanation
from patchword.sizing.walk.letters import MEANINGS
from patchword.sizing.walk.sight import Sight
from patchword.sizing.walk.steps import Step

_MOST_INDENTS = 6
_CELL = 16


def write_walk(path: Path, found: Explanation, config_yaml: str) -> None:
    """Write the page: one HTML file that needs nothing else, and runs no script.

    Raises:
        RunError: the file cannot be written.
    """
    write_page(path, render_walk(found, config_yaml))


def render_walk(found: Explanation, config_yaml: str) -> str:
    """The page's text."""
    over = f"One batch walked through: the forward pass of {whole(found.batch)}, up to the loss"
    total = found.total
    tiles = node(
        "dl",
        {"class": "tiles"},
        tile("Parameters", compact(total.parameters), f"{whole(total.parameters)} numbers"),
        tile("Arithmetic", in_flops(total.products + total.vector), "forward"),
        tile("Traffic", in_bytes(total.moved), "read and written by operations"),
    )
    lines = config_yaml.strip("\n").count("\n") + 1
    listed = details(f"The complete configuration ({whole(lines)} lines)", listing(config_yaml))
    parts = [*_steps(found), *_masks(found), Section("configuration", "Configuration", [listed])]
    return document(over, found.name or "Untitled model", tiles, [], parts)


def _steps(found: Explanation) -> Iterator[Section]:
    names = ("Parameters", "FLOPs", "Bytes")
    head = node("tr", None, *map(heading, ("Step", "Sides", "Shape")), *(heading(name, "number") for name in names))
    rows = [row for step in found.steps for row in _rows(step, 0)] + [_row(found.total, 0, "best")]
    lead = "Each step in the order in which it runs; like steps that follow one another are one. " + _legend(found)
    yield Section("steps", "Step by step", [table([head], rows)], lead)


def _legend(found: Explanation) -> str:
    def letters(step: Step) -> Iterator[str]:
        yield from "".join(step.letters)
        for part in step.parts:
            yield from letters(part)

    used = {letter for step in found.steps for letter in letters(step)}
    return "; ".join(f"{letter} {meaning}" for letter, meaning in MEANINGS.items() if letter in used) + "."


def _rows(step: Step, depth: int) -> Iterator[Html]:
    yield _row(step, depth)
    for part in step.parts:
        yield from _rows(part, depth + 1)


def _row(step: Step, depth: int, kind: str = "") -> Html:
    flops = step.products + step.vector
    shape = "scalar" if step.shape == () else " × ".join(map(str, step.shape)) if step.shape is not None else ""
    figures = (
        whole(step.parameters) if step.parameters else "",
        in_flops(flops) if flops else "",
        in_bytes(step.moved) if step.moved else "",
    )
    times = node("span", {"class": "unit"}, f" × {whole(step.count)}") if step.count > 1 else None
    name = node("th", {"scope": "row", "class": f"in{min(depth, _MOST_INDENTS)}"}, step.name, times)
    cells = [node("td", None, cell) for cell in (" ".join(step.letters), shape)]
    numbers = [node("td", {"class": "number"}, cell) for cell in figures]
    return node("tr", {"class": kind or ("group" if step.parts and depth < 1 else None)}, name, *cells, *numbers)


def _masks(found: Explanation) -> Iterator[Section]:
    if found.masks:
        lead = (
            "Rows are tokens that look, columns those that are looked at: strong is seen, faint hidden, dotted is "
            "padding. Drawn for one sample, with the last quarter of its text as padding."
        )
        drawn = node("div", {"class": "plots"}, *map(_mask, found.masks))
        yield Section("masks", "Who sees whom", [drawn], lead)


def _mask(sight: Sight) -> Html:
    frame = Frame(width=64 + _CELL * max(len(sight.cells[0]), 16), height=28 + _CELL * len(sight.cells), left=8)
    cells: list[Html | None] = []
    for down, row in enumerate(sight.cells):
        for across, (share, gone) in enumerate(zip(row, sight.padding, strict=True)):
            x, y = frame.left + _CELL * across, 4 + _CELL * down
            box = {"class": "cell", "x": x, "y": y, "width": _CELL - 2, "height": _CELL - 2}
            cells.append(node("rect", {**box, "fill-opacity": at(max(share, 0.0) * 0.94 + 0.06) if not gone else "0"}))
            if gone:
                middle = (_CELL - 2) / 2
                cells.append(node("circle", {"class": "cell", "cx": x + middle, "cy": y + middle, "r": 1.5}))
    seen = sum(map(sum, sight.cells)) / sum(len(row) for row in sight.cells)
    rows = "one row stands for all" if len(sight.cells) == 1 < sight.queries else f"{whole(sight.queries)} queries"
    label = f"{sight.path}: {sight.policy}; {rows}, {whole(sight.keys)} keys; {percent(seen)} of the pairs are seen."
    alike = f" and {whole(sight.others)} more" if sight.others else ""
    unit = join([sight.policy, f"{rows}, {whole(sight.keys)} keys"], "; ")
    return figure(f"{sight.path}{alike}", unit, [], drawing(frame, label, cells))
