"""Arguments that several commands share."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

Spec = Annotated[str, typer.Argument(metavar="PRESET_OR_FILE", help="A preset's name, or a .yaml or .json file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change: train.steps=500 model.image.dim=256"),
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


def table(rows: list[tuple[str, ...]], header: tuple[str, ...]) -> str:
    """Columns side by side, as wide as they need."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in [header, *rows]]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])
