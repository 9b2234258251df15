"""Arguments that several commands share."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

Spec = Annotated[str, typer.Argument(metavar="PRESET_OR_FILE", help="A preset's name, or a .yaml or .json file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings to change: train.steps=500 model.image.dim=256"),
]
Batch = Annotated[int | None, typer.Option("--batch", min=1, help="Samples in a batch; none: data.batch.size.")]
Mode = Annotated[
    str, typer.Option("--mode", help="train: a whole step; inference: a forward pass; generate: decoding.")
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="CPU threads; none: train.threads, or as torch chooses.")
]
Run = Annotated[str, typer.Argument(metavar="RUN", help="The folder of a trained run.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, and all else to standard error.")]


def print_json(data: Any) -> None:
    """The one JSON object of a command on standard output; numbers that JSON lacks become null."""
    typer.echo(json.dumps(_finite(data), ensure_ascii=False))


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {k: _finite(v) for k, v in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(v) for v in data]
    if isinstance(data, float) and data - data != 0.0:
        return None
    return data


def seconds(count: float) -> str:
    """`1.42 s`, `87.1 ms`, `640 us`."""
    for unit, factor in (("s", 1.0), ("ms", 1e-3)):
        if count >= factor:
            return f"{count / factor:,.3g} {unit}" if count < 1000 * factor else f"{count / factor:,.0f} {unit}"
    return f"{count * 1e6:,.0f} us"


def with_threads(settings: dict[str, Any], threads: int | None) -> dict[str, Any]:
    """Overrides, and `--threads` among them."""
    return settings if threads is None else {**settings, "train.threads": threads}


@contextmanager
def picture_counter() -> Iterator[Callable[[int, int], None] | None]:
    """A bar on standard error to be told of (pictures read, pictures to read); None where that is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("reading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=None)
        yield lambda done, total: progress.update(bar, completed=done, total=total)


def table(rows: list[tuple[str, ...]], header: tuple[str, ...]) -> str:
    """Columns side by side, as wide as they need; on a terminal the last one is broken into lines to fit."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    if sys.stdout.isatty():
        room = os.get_terminal_size().columns - sum(widths[:-1]) - 2 * len(widths[:-1])
        widths[-1] = min(widths[-1], max(room, 20))
    every = [header, *(line for row in rows for line in _broken(row, widths[-1]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in every]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def _broken(row: tuple[str, ...], width: int) -> list[tuple[str, ...]]:
    """A row as several, the last cell broken into lines of that width."""
    first, *more = textwrap.wrap(row[-1], width) or [""]
    return [(*row[:-1], first), *((*([""] * len(row[:-1])), part) for part in more)]
