"""`patchword calibrate`: how long a step takes on this machine, from each of its operations timed once."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

import typer

from patchword.cli.options import Batch, Json, Mode, Overrides, Spec, Threads, print_json, seconds, with_threads

if TYPE_CHECKING:
    from patchword.training.calibration import Calibration


def command(
    spec: Spec,
    overrides: Overrides = None,
    batch: Batch = None,
    mode: Mode = "train",
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Time each distinct operation of a step once on this machine, and predict the step from them.

    What was timed is kept for all configurations: a second one times only what is new, and `patchword size` uses it.
    Ctrl-C keeps what was timed so far. The machine should have nothing else to do.
    """
    from patchword.config import parse_overrides
    from patchword.costs import calibrate

    settings = with_threads(parse_overrides(overrides or []), threads)
    if os.getloadavg()[0] > (os.cpu_count() or 1) / 2:
        typer.echo("warning: this machine is busy with other things, and operations will seem slow", err=True)
    with _progress() as progress:
        found = calibrate(spec, mode, batch, progress, **settings)
    if as_json:
        time = found.time.to_dict()
        print_json({"time": time, "timed": found.timed, "reused": found.reused, "refused": found.refused,
                    "path": found.path})  # fmt: skip
    else:
        typer.echo(_report(found))


def _report(found: Calibration) -> str:
    low, high = found.time.low, found.time.high
    lines = [
        f"A step takes {seconds(low)} to {seconds(high)}. Reading data is not in it.",
        *(f"  {phase}: {seconds(a)} to {seconds(b)}" for phase, (a, b) in found.time.phases.items()),
        f"{found.timed} operations timed, {found.reused} known before. Table: {found.path}",
    ]
    lines += [f"not timed, only bounded: {signature[:100]}: {why}" for signature, why in found.refused.items()]
    return "\n".join(lines)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A line on standard error: one that is rewritten on a terminal, else one every ten seconds."""
    last = monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        if sys.stderr.isatty():
            typer.echo(f"\rtiming operations: {done} of {total}", nl=done == total, err=True)
        elif monotonic() - last > 10:
            typer.echo(f"timing operations: {done} of {total}", err=True)
            last = monotonic()

    yield tell
