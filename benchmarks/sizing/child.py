"""The process that measures one group of cells; the interposer is preloaded into it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from benchmarks.sizing.cells import Cell, groups, quick
from benchmarks.sizing.interposer import Interposer
from benchmarks.sizing.kernels import watched
from benchmarks.sizing.measure import measure
from benchmarks.sizing.planner import PLANS, check
from benchmarks.sizing.results import add, done


def main() -> None:
    """Measure those that are not there yet, one line of JSON each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("group")
    parser.add_argument("results", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    interposer = Interposer()
    there = done(options.results)
    if options.group == "planner":
        for plan in PLANS:
            if plan.name not in there:
                add(options.results, check(plan, interposer))
        return
    for cell in quick() if options.group == "quick" else groups()[options.group]:
        if cell.name not in there:
            add(options.results, _measured(cell, interposer))


def _measured(cell: Cell, interposer: Interposer) -> dict[str, Any]:
    facts: dict[str, Any] = {"cell": cell.name, "model": cell.model, "setting": cell.setting, "batch": cell.batch}
    try:
        facts |= measure(cell.make(), interposer)
        if cell.batch == 2 and cell.setting != "generation":  # rules for kernels do not need all batches
            facts |= _kernels(cell.make(), interposer)
    except Exception as error:  # what cannot be measured is a row of the page, too
        facts["error"] = f"{type(error).__name__}: {error}"[:300]
    return facts


def _kernels(subject: Any, interposer: Interposer) -> dict[str, Any]:
    """How many distinct operations the step has, and those whose rule is off by more than 64 bytes."""
    step = subject.start()
    step()
    found = watched(step, interposer)
    wrong = [k for k in found if k.predicted is None or abs(k.predicted - k.measured) > 64]
    del step
    subject.stop()
    return {"kernels": len(found), "kernels_off": [[*k] for k in wrong]}


if __name__ == "__main__":
    main()
