"""`python -m benchmarks.sizing.time_cells`: steps predicted from operations timed here, beside the steps themselves.

The machine must have nothing else to do. Each cell's real steps are run before and after its operations are timed, so
that an hour in which the machine is slower counts for both. Cells that are in the results are not run again: delete the
folder to begin anew.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any, NamedTuple

import torch

from patchword.models.presets import load_config
from patchword.sizing.planning.devices import this_machine
from patchword.sizing.timing.roofline import roofline
from patchword.sizing.timing.timings import VARIABLE, processor
from patchword.sizing.tracing.kinds import kinds_of
from patchword.training.calibration import calibrated, computing_with
from patchword.training.real_step import RealStep
from patchword.training.rehearsed import MODES, rehearsal_of

Row = dict[str, Any]
_STEPS = 6
"""Real steps before and after."""
_MARKS = "<!-- measured -->", "<!-- end of measured -->"


class Cell(NamedTuple):
    """One step."""

    preset: str
    mode: str
    batch: int
    threads: int


_STEPS_OF = (
    ("captioner-tiny", "train", 1),
    ("captioner-tiny", "train", 16),
    ("captioner-tiny", "train", 64),
    ("captioner-tiny", "inference", 16),
    ("captioner-small", "train", 8),
    ("captioner-small", "inference", 8),
    ("captioner-prefix-small", "train", 4),
    ("captioner-prefix-small", "inference", 8),
    ("layout-merged-attention", "train", 16),
    ("layout-late-fusion", "train", 32),
    ("layout-single-stream", "train", 4),
    ("layout-dual-stream", "inference", 8),
)
CELLS = [Cell(*step, threads) for threads in (1, 2) for step in _STEPS_OF]


def main() -> None:
    """Run the cells that are not there yet, then write the table into the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizing.time_cells", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/sizing/time"), help="folder of results and timings")
    parser.add_argument("--page", type=Path, default=Path("docs/sizing/time.md"), help="page that holds the table")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    os.environ[VARIABLE] = str(options.out.resolve())
    results = options.out / "cells.jsonl"
    rows = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    there = {Cell(*row["cell"]) for row in rows}
    start = monotonic()
    for number, cell in enumerate(CELLS, 1):
        if cell not in there:
            row = measured(cell)
            rows.append(row)
            with results.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            told = f"{number} of {len(CELLS)}, {monotonic() - start:.0f} s: {_line(row)}"
            print(told, file=sys.stderr, flush=True)
    write(options.page, rows)
    print("\n".join(summary(rows)))


def measured(cell: Cell) -> Row:
    """One cell's row."""
    run = load_config(cell.preset, {"train.threads": cell.threads})
    load = os.getloadavg()[0]
    with computing_with(cell.threads):
        with RealStep(run, cell.mode, cell.batch) as real:
            steps = real.seconds(_STEPS)
        found = calibrated(run, cell.mode, cell.batch)
        with RealStep(run, cell.mode, cell.batch) as real:
            steps += real.seconds(_STEPS)
    kinds = kinds_of(MODES[cell.mode](rehearsal_of(run, cell.batch), run, cell.batch).ops)
    sheet = roofline(kinds, this_machine(), run.train.precision, cell.threads)
    return {
        "cell": list(cell),
        "predicted": [found.time.low, found.time.high],
        "sheet": [sheet.low, sheet.high],
        "measured": median(sum(step.values()) for step in steps),
        "phases": {phase: median(step[phase] for step in steps) for phase in steps[0]},
        "predicted_phases": found.time.phases,
        "timed": found.timed,
        "refused": len(found.refused),
        "load": load,
        "machine": f"{processor()}, torch {torch.__version__}",
    }


def _error(row: Row) -> float:
    return sum(row["predicted"]) / (2 * row["measured"]) - 1


def _inside(row: Row, which: str) -> bool:
    low, high = row[which]
    return low <= row["measured"] <= high


def summary(rows: list[Row]) -> list[str]:
    """The figures against the bars."""
    errors = sorted(abs(_error(row)) for row in rows)
    inside, sheets = (sum(_inside(row, which) for row in rows) for which in ("predicted", "sheet"))
    width = median((row["predicted"][1] - row["predicted"][0]) / sum(row["predicted"]) for row in rows)
    count = len(rows)
    return [
        "| what | bar | measured |",
        "| --- | --- | --- |",
        f"| median error of the middle, {count} cells | <= 10 % | **{median(errors):.1%}** (worst {errors[-1]:.1%}) |",
        f"| calibrated interval contains the truth | >= 90 % | **{inside / count:.0%}** ({inside} of {count}) |",
        f"| half of its width, median | - | {width:.0%} of the middle |",
        f"| interval of the data sheet contains the truth | >= 90 % | **{sheets / count:.0%}** ({sheets} of {count}) |",
    ]


def _line(row: Row) -> str:
    preset, mode, batch, threads = row["cell"]
    low, high = row["predicted"]
    sides = "inside" if _inside(row, "predicted") else "**outside**"
    of_sheet = "to".join(f" {1000 * seconds:.0f} " for seconds in row["sheet"])
    return (
        f"| {preset} | {mode} | {batch} | {threads} | {1000 * low:.1f} to {1000 * high:.1f} "
        f"| {1000 * row['measured']:.1f} | {_error(row):+.1%} | {sides} |{of_sheet}|"
    )


def write(page: Path, rows: list[Row]) -> None:
    """The table between the page's marks."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(_MARKS[0])
    _, _, after = rest.partition(_MARKS[1])
    busiest = max(row["load"] for row in rows)
    lines = [
        f"{rows[0]['machine']}; load of the machine before a cell at most {busiest:.1f}.",
        "",
        *summary(rows),
        "",
        "| preset | mode | batch | threads | predicted, ms | measured, ms | error of the middle | | data sheet, ms |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *(_line(row) for row in rows),
    ]
    body = "\n".join(lines)
    page.write_text(f"{before}{_MARKS[0]}\n\n{body}\n\n{_MARKS[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
