"""`patchword explain`: one batch walked through a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from patchword.cli.options import Json, Overrides, Spec, print_json

if TYPE_CHECKING:
    from patchword.sizing.walk.explain import Explanation
    from patchword.sizing.walk.sight import Sight
    from patchword.sizing.walk.steps import Step

_COLUMNS = 100
_HEADER = ("step", "sides", "shape", "parameters", "FLOPs", "bytes")
_SHADES = " ░▒▓█"


def command(
    spec: Spec,
    overrides: Overrides = None,
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Samples in a batch; none: data.batch.size.")
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="PATH", help="Also write it as a page.")] = None,
    as_json: Json = False,
) -> None:
    """Walk one batch through the model: shapes, parameters, FLOPs and bytes of each step, and who sees whom.

    The walk is a forward pass up to the loss; every text has the greatest length. FLOPs count a multiplication and an
    addition as two; bytes are what operations read and write.
    """
    from patchword.config import parse_overrides, to_yaml
    from patchword.costs import explain
    from patchword.models.presets import load_config

    settings = parse_overrides(overrides or [])
    found = explain(spec, batch, **settings)
    if html is not None:
        from patchword.report.walk import write_walk

        write_walk(html, found, to_yaml(load_config(spec, settings)))
    if as_json:
        print_json(found.to_dict())
    else:
        typer.echo("\n".join(_lines(found)))


def _lines(found: Explanation) -> Iterator[str]:
    from patchword.sizing.walk.letters import MEANINGS

    yield f"{found.name}, a batch of {found.batch:,}: the forward pass, up to the loss"
    yield ""
    rows = [row for step in found.steps for row in _rows(step, 0)] + [_cells(found.total, 0)]
    rest = [max(len(row[i]) for row in [_HEADER, *rows]) for i in range(1, len(_HEADER))]
    widths = [_COLUMNS - sum(rest) - 2 * len(rest), *rest]
    for row in [_HEADER, tuple("-" * width for width in widths), *rows]:
        yield _line(row, widths)
    used = {letter for row in rows for side in row[1].split() for letter in side if letter in MEANINGS}
    yield ""
    yield from _wrapped(", ".join(f"{letter} {meaning}" for letter, meaning in MEANINGS.items() if letter in used))
    for sight in found.masks:
        yield from _drawn(sight)


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    first = row[0] if len(row[0]) <= widths[0] else row[0][: widths[0] - 3] + "..."
    left = [first.ljust(widths[0]), *(cell.ljust(width) for cell, width in zip(row[1:3], widths[1:3], strict=True))]
    right = [cell.rjust(width) for cell, width in zip(row[3:], widths[3:], strict=True)]
    return "  ".join([*left, *right]).rstrip()


def _rows(step: Step, depth: int) -> Iterator[tuple[str, ...]]:
    yield _cells(step, depth)
    for part in step.parts:
        yield from _rows(part, depth + 1)


def _cells(step: Step, depth: int) -> tuple[str, ...]:
    from patchword.sizing.amounts import in_bytes, in_flops

    times = f" x {step.count}" if step.count > 1 else ""
    flops = step.products + step.vector
    shape = "scalar" if step.shape == () else " x ".join(map(str, step.shape)) if step.shape is not None else ""
    figures = (f"{step.parameters:,}" if step.parameters else "", in_flops(flops) if flops else "")
    return (
        f"{'  ' * depth}{step.name}{times}",
        " ".join(step.letters),
        shape,
        *figures,
        in_bytes(step.moved) if step.moved else "",
    )


def _wrapped(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, _COLUMNS)


def _drawn(sight: Sight) -> Iterator[str]:
    alike = f" and {sight.others} more" if sight.others else ""
    rows = "1 row stands for all" if len(sight.cells) == 1 < sight.queries else f"{sight.queries} queries down"
    yield ""
    yield from _wrapped(f"{sight.path}{alike}: {sight.policy}; {rows}, {sight.keys} keys across")
    for row in sight.cells:
        cells = (
            "··" if gone else _SHADES[max(round(4 * share), share > 0)] * 2
            for share, gone in zip(row, sight.padding, strict=True)
        )
        yield "  " + "".join(cells).rstrip()
    padded = "; ·· padding, as it could be" if any(sight.padding) else ""
    yield f"  {_SHADES[-1] * 2} seen, {_SHADES[2] * 2} in part, blank hidden{padded}"
