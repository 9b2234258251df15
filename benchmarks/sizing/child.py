"""The process that measures one group of cells; the interposer is preloaded into it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.sizing.cells import groups
from benchmarks.sizing.interposer import Interposer
from benchmarks.sizing.kernels import watched
from benchmarks.sizing.measure import measure
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
    for cell in groups()[options.group]:
        if cell.name in there:
            continue
        facts: dict[str, Any] = {"cell": cell.name, "model": cell.model, "setting": cell.setting, "batch": cell.batch}
        try:
            facts |= measure(cell.make(), interposer)
            if cell.batch == 2:  # rules for kernels do not need all batches
                facts |= _kernels(cell.make(), interposer)
        except Exception as error:  # what cannot be measured is a row of the page, too
            facts["error"] = f"{type(error).__name__}: {error}"[:300]
        add(options.results, facts)
        print(json.dumps(facts), file=sys.stderr, flush=True)


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
