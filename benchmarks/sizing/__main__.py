"""`python -m benchmarks.sizing`: every cell measured twice over, and the page that says how near the prediction was."""

from __future__ import annotations

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.sizing.cells import groups
from benchmarks.sizing.interposer import compiled, environment
from benchmarks.sizing.page import page
from benchmarks.sizing.planner import PLANS
from benchmarks.sizing.results import done, read

_ROOT = Path(__file__).parents[2]


def main() -> None:
    """Run the cells that are not there yet, then write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sizing", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="GROUP", help=f"of {', '.join(groups())}, planner; default: all")
    parser.add_argument("--out", type=Path, default=Path("runs/sizing"), help="folder of results and of the library")
    parser.add_argument("--page", type=Path, help="where to write the page, such as docs/sizing/accuracy.md")
    parser.add_argument("--jobs", type=int, default=1, help="groups that run side by side; bytes do not depend on it")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in (*groups(), "planner")]:
        parser.error(f"no group {', '.join(unknown)}; there are {', '.join(groups())}, planner")
    library = compiled(options.out.resolve())
    results = options.out.resolve() / "cells.jsonl"
    there = done(results)
    names = {name: [cell.name for cell in cells] for name, cells in groups().items()}
    names["planner"] = [plan.name for plan in PLANS]
    left = [name for name in options.names or names if any(cell not in there for cell in names[name])]

    def run(name: str) -> None:
        command = [sys.executable, "-m", "benchmarks.sizing.child", name, str(results)]
        subprocess.run(command, cwd=_ROOT, env=environment(library), check=True)

    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(run, left))
    order = {cell: place for place, cell in enumerate(cell for cells in names.values() for cell in cells)}
    text = page(
        [row for row in sorted(read(results), key=lambda row: order.get(row["cell"], -1)) if row["cell"] in order]
    )
    if options.page is not None:
        options.page.write_text(text)
    else:
        print(text)


if __name__ == "__main__":
    main()
