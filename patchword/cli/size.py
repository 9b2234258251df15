"""`patchword size`: what a configuration costs, before a weight is allocated."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from patchword.cli.fit import chosen, report
from patchword.cli.options import Json, Mode, Overrides, Spec, print_json, seconds, table
from patchword.cli.published import show
from patchword.sizing.amounts import in_bytes, in_flops

if TYPE_CHECKING:
    from patchword.sizing.size import Sizing
    from patchword.sizing.timing.roofline import StepTime


def command(
    spec: Spec,
    overrides: Overrides = None,
    batch: Annotated[
        int | None, typer.Option("--batch", min=0, help="Samples in a batch; none: data.batch.size.")
    ] = None,
    mode: Mode = "train",
    fit: Annotated[
        str | None,
        typer.Option(
            "--fit", metavar="DEVICE|MEMORY", help="Size the largest batch that fits: rtx-4090, 512MiB, 80GB."
        ),
    ] = None,
    target: Annotated[
        int | None, typer.Option("--target-batch", help="With --fit: samples of a step, to accumulate.")
    ] = None,
    compiled: Annotated[
        bool,
        typer.Option("--compiled", help="Memory of the step that torch compiles for a CPU (train.compile); seconds."),
    ] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="PATH", help="Also write a page with drawings of all of it.")
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="Under whose roof the page of --html shows operations.")
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
    from patchword.costs import DEVICE, size, size_report
    from patchword.models.presets import load_config

    settings, fitting = parse_overrides(overrides or []), None
    if formula is not None:
        if any(option is not None for option in (fit, target, html, device)) or mode != "train":
            raise UserError("--formula compares figures as published: it goes with --batch and --json alone")
        show(spec, formula, settings, batch, as_json)
        return
    if device is not None and html is None:
        raise UserError("--device chooses what the page of --html shows: give --html PATH, too")
    if compiled and (fit is not None or html is not None):
        raise UserError("--compiled sizes one batch: it goes with neither --fit nor --html")
    if fit is not None:
        if batch is not None:
            raise UserError("--batch and --fit both choose the batch: drop one of them")
        batch, fitting = chosen(spec, fit, mode, target, settings)
    elif target is not None:
        raise UserError("--target-batch goes with --fit: it says how often to accumulate what fits")
    if html is None:
        found = size(spec, mode, batch, compiled=compiled, **settings)
    else:
        found = size_report(spec, html, mode, batch, device or DEVICE, **settings)
    if as_json:
        print_json(found.to_dict() | ({"fit": fitting.to_dict()} if fitting is not None else {}))
    else:
        precision = load_config(spec, settings).train.precision if mode == "train" else "fp32"
        typer.echo(_report(found, precision) + (f"\n{report(fitting, fit or '')}" if fitting is not None else ""))


def _report(found: Sizing, precision: str) -> str:
    flops = ("forward", "backward", "hardware", "vector")
    header = ("component", "parameters", "trainable", *flops, "activations", "at peak")
    rows = [
        (
            part.name,
            f"{part.parameters:,}",
            f"{part.trainable:,}",
            *(in_flops(getattr(part.flops, kind)) for kind in flops),
            in_bytes(part.activations),
            in_bytes(part.at_peak),
        )
        for part in (*found.components, found.total)
    ]
    kinds = ", ".join(f"{name} {in_bytes(count)}" for name, count in found.by_category.items())
    lines = [
        table(rows, header),
        "",
        f"{found.mode}, batch of {found.batch}, {precision}. Peak {in_bytes(found.peak_bytes)} of tensors: {kinds}.",
        "What kernels use inside themselves is in it where that is known; not in it: the program and its libraries.",
    ]
    if found.time is not None:
        lines.append(_time(found.time))
    if found.unmeasured:
        names = ", ".join(f"{name} ({count}x)" for name, count in found.unmeasured.items())
        lines.append(f"The peak may lack what these kernels take inside themselves: {names}.")
    if found.uncounted:
        names = ", ".join(f"{name} ({count}x)" for name, count in found.uncounted.items())
        lines.append(f"FLOPs lack operations without a formula: {names}.")
    return "\n".join(lines)


def _time(found: StepTime) -> str:
    between = f"A step takes {seconds(found.low)} to {seconds(found.high)} here, without reading data"
    nearer = "" if found.source == "calibrated" else "; nearer: patchword calibrate"
    return f"{between} ({found.source}{nearer})."
