"""`patchword size`: what a configuration costs, before a weight is allocated."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from patchword.cli.fit import chosen, report
from patchword.cli.options import Json, Overrides, Spec, print_json, seconds, table
from patchword.cli.published import show

if TYPE_CHECKING:
    from patchword.sizing.roofline import StepTime
    from patchword.sizing.size import Sizing


def command(
    spec: Spec,
    overrides: Overrides = None,
    batch: Annotated[
        int | None, typer.Option("--batch", min=0, help="Samples in a batch; none: data.batch.size.")
    ] = None,
    mode: Annotated[
        str, typer.Option("--mode", help="train: a whole step; inference: a forward pass without gradients.")
    ] = "train",
    fit: Annotated[
        str | None,
        typer.Option(
            "--fit", metavar="DEVICE|MEMORY", help="Size the largest batch that fits: rtx-4090, 512MiB, 80GB."
        ),
    ] = None,
    target: Annotated[
        int | None, typer.Option("--target-batch", help="With --fit: samples of a step, to accumulate.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="PATH", help="Also write a page with drawings of all of it.")
    ] = None,
    formula: Annotated[
        str | None,
        typer.Option("--formula", help="published: compare a published model's printed figures with the truth."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Parameters, FLOPs and memory of one step, by component.

    Every picture has the configured size and every text the greatest length. FLOPs count a multiplication and an
    addition as two: forward and backward are what the definition asks for, hardware is what kernels compute of it.
    """
    from patchword.config import UserError, parse_overrides
    from patchword.costs import size, size_report

    settings, fitting = parse_overrides(overrides or []), None
    if formula is not None:
        if fit is not None or target is not None or html is not None or mode != "train":
            raise UserError("--formula compares figures as published: it goes with --batch and --json alone")
        show(spec, formula, settings, batch, as_json)
        return
    if fit is not None:
        if batch is not None:
            raise UserError("--batch and --fit both choose the batch: drop one of them")
        batch, fitting = chosen(spec, fit, mode, target, settings)
    elif target is not None:
        raise UserError("--target-batch goes with --fit: it says how often to accumulate what fits")
    found = size(spec, mode, batch, **settings) if html is None else size_report(spec, html, mode, batch, **settings)
    if as_json:
        print_json(found.to_dict() | ({"fit": fitting.to_dict()} if fitting is not None else {}))
    else:
        typer.echo(_report(found) + (f"\n{report(fitting, fit or '')}" if fitting is not None else ""))


def _report(found: Sizing) -> str:
    flops = ("forward", "backward", "hardware", "vector")
    header = ("component", "parameters", "trainable", *flops, "activations", "at peak")
    rows = [
        (
            part.name,
            f"{part.parameters:,}",
            f"{part.trainable:,}",
            *(_flops(getattr(part.flops, kind)) for kind in flops),
            _bytes(part.activations),
            _bytes(part.at_peak),
        )
        for part in (*found.components, found.total)
    ]
    kinds = ", ".join(f"{name} {_bytes(count)}" for name, count in found.by_category.items())
    lines = [
        table(rows, header),
        "",
        f"{found.mode}, batch of {found.batch}, fp32. Peak {_bytes(found.peak_bytes)} of tensors: {kinds}.",
        "Not in it: what kernels use inside themselves, the program and its libraries.",
    ]
    if found.time is not None:
        lines.append(_time(found.time))
    if found.uncounted:
        names = ", ".join(f"{name} ({count}x)" for name, count in found.uncounted.items())
        lines.append(f"FLOPs lack operations without a formula: {names}.")
    return "\n".join(lines)


def _time(found: StepTime) -> str:
    between = f"A step takes {seconds(found.low)} to {seconds(found.high)} here, without reading data"
    nearer = "" if found.source == "calibrated" else "; nearer: patchword calibrate"
    return f"{between} ({found.source}{nearer})."


def _flops(count: int) -> str:
    for unit, factor in (("TFLOP", 1e12), ("GFLOP", 1e9), ("MFLOP", 1e6)):
        if count >= factor:
            return f"{count / factor:,.2f} {unit}"
    return f"{count:,}"


def _bytes(count: int) -> str:
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= factor:
            return f"{count / factor:,.1f} {unit}"
    return f"{count} B"
