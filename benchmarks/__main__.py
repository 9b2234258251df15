"""`python -m benchmarks`: ratios against public peers, measured in one run."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable

import torch

from benchmarks import generation, pictures, training
from benchmarks.rows import Contest, Row, footnotes, markdown, measure

GROUPS: dict[str, Callable[[], list[Contest]]] = {
    "gpt": training.gpt,
    "vit": training.vit,
    "captions": generation.captions,
    "pictures": pictures.pictures,
}


def main() -> None:
    """Measure, then print a table (or one JSON object)."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; default: all")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="default: 1 2")
    parser.add_argument("--pairs", type=int, help="times each side is run; default: enough for a steady median")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args()
    if unknown := [name for name in options.groups if name not in GROUPS]:
        parser.error(f"no group {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    if options.pairs is not None and options.pairs < 1:
        parser.error("--pairs must be at least 1")

    rows: list[Row] = []
    contests: list[Contest] = []
    for name in options.groups or GROUPS:
        own = GROUPS[name]()
        contests += own
        for threads in options.threads:
            torch.set_num_threads(threads)
            for row in measure(own, threads, options.pairs):
                rows.append(row)
                print(markdown([row]).splitlines()[-1], file=sys.stderr, flush=True)
    rows.sort(key=lambda row: row.threads)
    if options.json:
        print(json.dumps({"torch": torch.__version__, "load": os.getloadavg()[0], "rows": [r.as_dict() for r in rows]}))
    else:
        print(f"{markdown(rows)}\n\nChecked before the clock started:\n\n{footnotes(contests)}")


if __name__ == "__main__":
    main()
