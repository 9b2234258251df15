"""From the lines of `metrics.jsonl` to what is plotted: which figures there are, and their points."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from patchword.config import UserError
from patchword.report.amounts import number, percent, plain
from patchword.report.measures import measure, ordered
from patchword.training.log import read_metrics as read_lines

Row = Mapping[str, Any]


class Point(NamedTuple):
    """A value at a step; None: it was not finite."""

    step: float
    value: float | None


class Line(NamedTuple):
    """One course of a figure."""

    label: str
    points: tuple[Point, ...]
    """By step, no step twice."""


class Figure(NamedTuple):
    """Courses that share their axes."""

    title: str
    unit: str
    """What its values are, or empty."""
    lines: tuple[Line, ...]
    """At least one, none of them without points."""
    write: Callable[[Any], str] = plain
    """A value for people."""
    may_be_log: bool = False
    """Whether a logarithmic axis is right for values that spread widely."""
    from_zero: bool = False
    """Whether its axis begins at zero whatever the values."""
    first_colour: int = 0
    """Number of the first line's colour; the others follow. Validation has the same one everywhere."""


class Evaluation(NamedTuple):
    """One line of kind `eval`."""

    step: float
    split: str
    metrics: Mapping[str, Any]
    best: bool


class _Track(NamedTuple):
    """A figure of one field of the lines of kind `train`."""

    field: str
    title: str
    unit: str = ""
    write: Callable[[Any], str] = plain
    may_be_log: bool = False
    from_zero: bool = False


_TRACKS = (
    _Track("lr", "Learning rate"),
    _Track("grad_norm", "Gradient norm", "before clipping", may_be_log=True),
    _Track("samples_per_second", "Speed", "samples a second", from_zero=True),
    _Track("tokens_per_second", "Speed in text", "tokens a second", from_zero=True),
    _Track("data_wait", "Waiting for data", "share of the time", percent, from_zero=True),
)


def read_metrics(run_folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`; none if there is no such file. A last line cut short is left out.

    Raises:
        UserError: a line is not a JSON object, by number.
    """
    path = run_folder / "metrics.jsonl"
    if not path.exists():
        return []
    rows = list(read_lines(path))
    for line, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise UserError(f"{path}, line {line}: should be a JSON object, got {type(row).__name__}")
    return rows


def evaluations(rows: Iterable[Row]) -> list[Evaluation]:
    """The evaluations made while training, by step; of two at one step on one split the later one."""
    found: dict[tuple[float, str], Evaluation] = {}
    for row in rows:
        step, metrics = number(row.get("step")), row.get("metrics")
        if row.get("kind") == "eval" and step is not None and isinstance(metrics, Mapping):
            split = str(row.get("split") or "validation")
            found[step, split] = Evaluation(step, split, metrics, row.get("best") is True)
    return sorted(found.values(), key=lambda e: (e.step, e.split))


def bad_samples(rows: Iterable[Row]) -> Counter[str]:
    """How many samples could not be read, by reason."""
    samples = {str(row.get("id")): str(row.get("reason")) for row in rows if row.get("kind") == "bad"}
    return Counter(samples.values())


def figures(rows: Sequence[Row]) -> list[Figure]:
    """Every figure that has points: loss, what was evaluated, then how training went."""
    train = [row for row in rows if row.get("kind") == "train"]
    evals = evaluations(rows)
    loss = [Line("training", _course((row.get("step"), row["loss"]) for row in train if "loss" in row))]
    loss += _eval_lines(evals, ["loss"])
    made = [Figure("Loss", "nats a token", tuple(loss), may_be_log=True), *_eval_figures(evals)]
    for track in _TRACKS:
        points = _course((row.get("step"), row[track.field]) for row in train if track.field in row)
        lines = (Line("", points),)
        made.append(Figure(track.title, track.unit, lines, track.write, track.may_be_log, track.from_zero))
    made = [f._replace(lines=tuple(line for line in f.lines if line.points)) for f in made]
    return [f for f in made if f.lines]


def _eval_figures(evals: Sequence[Evaluation]) -> list[Figure]:
    """A figure for every metric that was evaluated at several steps; BLEU-1 to BLEU-4 share one."""
    groups: dict[str, list[str]] = {}
    for name in ordered(dict.fromkeys(name for e in evals for name in e.metrics)):
        if name != "loss" and measure(name).curve:
            groups.setdefault(re.sub(r"\d+$", "", name), []).append(name)
    made = []
    for names in groups.values():
        first, lines = measure(names[0]), _eval_lines(evals, names)
        title = first.label if len(names) == 1 else re.sub(r"\W*\d+$", "", first.label)
        if any(len(line.points) > 1 for line in lines):
            unit = f"{first.better} is better" if first.better else ""
            made.append(Figure(title, unit, tuple(lines), first.write, first_colour=1))
    return made


def _eval_lines(evals: Sequence[Evaluation], names: Sequence[str]) -> list[Line]:
    """A line for each split and metric."""
    lines, splits = [], list(dict.fromkeys(e.split for e in evals))
    for split in splits:
        for name in names:
            points = _course((e.step, e.metrics[name]) for e in evals if e.split == split and name in e.metrics)
            label = measure(name).label + (f", {split}" if len(splits) > 1 else "")
            lines.append(Line(label if len(names) > 1 else split, points))
    return lines


def _course(pairs: Iterable[tuple[Any, Any]]) -> tuple[Point, ...]:
    """Points by step; of several at one step the last. A value that is no number is a gap; such a step is left out."""
    found = {step: number(value) for raw, value in pairs if (step := number(raw)) is not None}
    return tuple(Point(step, found[step]) for step in sorted(found))
