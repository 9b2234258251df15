"""`patchword verify`: what `size` predicts beside what the same step takes here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from patchword.cli.options import Batch, Json, Mode, Overrides, Spec, Threads, print_json, seconds, table, with_threads

if TYPE_CHECKING:
    from patchword.sizing.timing.verify import Verification


def command(
    spec: Spec,
    overrides: Overrides = None,
    batch: Batch = None,
    steps: Annotated[int, typer.Option("--steps", min=1, help="Steps to time.")] = 5,
    mode: Mode = "train",
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Run a step here, on made-up samples with every place filled, and hold what was predicted against it.

    Time by phase is that of the same table as `patchword size`: see `patchword calibrate`. Memory is what torch's
    profiler saw allocated.
    """
    from patchword.config import parse_overrides
    from patchword.costs import verify

    found = verify(spec, mode, batch, steps, **with_threads(parse_overrides(overrides or []), threads))
    if as_json:
        print_json(found.to_dict())
    else:
        typer.echo(_report(found))


def _report(found: Verification) -> str:
    from patchword.sizing.amounts import in_bytes

    rows = []
    for phase, time in found.seconds.items():
        memory = found.memory.get(phase)
        told = ("", "", "") if memory is None else (
            in_bytes(memory.predicted), in_bytes(memory.measured), f"{memory.error:+.2%}"
        )  # fmt: skip
        between = f"{seconds(time.low)} to {seconds(time.high)}"
        rows.append((phase, between, seconds(time.measured), f"{time.error:+.1%}", *told))
    header = ("phase", "predicted time", "measured", "of middle", "predicted memory", "measured", "error")
    step, memory = found.seconds["step"], found.memory["step"]
    lines = [
        table(rows, header),
        "",
        f"{found.mode}, batch of {found.batch}; time from {found.source}, median of {found.steps} steps.",
        f"time: {'inside' if step.inside else 'OUTSIDE'} the interval",
        f"memory: {'inside' if memory.inside else 'OUTSIDE'} 0.5 %",
    ]
    if found.source != "calibrated":
        lines.append("For a narrower interval of time run patchword calibrate with the same arguments first.")
    return "\n".join(lines)
