"""`patchword plan`: how long and how dear a training is on a device, before it is paid."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from patchword.cli.options import Json, Overrides, Spec, print_json, table

if TYPE_CHECKING:
    from patchword.sizing.planning.overheads import Overhead
    from patchword.sizing.planning.plan import Plan
    from patchword.sizing.planning.scale import Interval
    from patchword.training.planning import Scaled


def command(
    spec: Spec,
    overrides: Overrides = None,
    device: Annotated[
        str, typer.Option("--device", metavar="NAME", help="One of docs/sizing/devices.md, or this-machine.")
    ] = "this-machine",
    devices: Annotated[int, typer.Option("--devices", help="How many, each with a batch of its own.")] = 1,
    samples: Annotated[
        int | None, typer.Option("--samples", help="How many to train on; none: the run's own steps.")
    ] = None,
    tokens: Annotated[int | None, typer.Option("--tokens", help="Instead, text tokens to train on.")] = None,
    price: Annotated[
        str | None, typer.Option("--price", metavar="PER_HOUR", help="Of one device: 2.50, 2.50EUR.")
    ] = None,
    batch: Annotated[
        int | None, typer.Option("--batch", help="Samples of one device at a time; none: data.batch.size.")
    ] = None,
    network: Annotated[
        str | None, typer.Option("--network", metavar="SPEED", help="Bytes a second between devices: 25GB.")
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option("--scale", metavar="RANKS", help="Instead, many ranks on paper: 8,64,1024."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Whether a training fits on a device, how long it takes, what it costs and draws: intervals, never points.

    Time is that of the steps: reading data, evaluations and checkpoints are not in it.
    """
    from patchword.config import UserError, parse_overrides
    from patchword.plans import plan, plan_scale

    settings = parse_overrides(overrides or [])
    if scale is not None:
        from patchword.sizing.planning.scale import ranks_of

        if devices != 1 or samples is not None or tokens is not None or price is not None:
            raise UserError("--scale tells of one step: it goes with --device, --batch and --network alone")
        rows = plan_scale(spec, device, ranks_of(scale), batch, network, **settings)
        if as_json:
            print_json({"device": device, "scale": [row.to_dict() for row in rows]})
        else:
            typer.echo(_scaled(rows))
        return
    found = plan(spec, device, devices, samples, tokens, price, batch, network, **settings)
    if as_json:
        print_json(found.to_dict())
    else:
        typer.echo(_report(found))


def _report(found: Plan) -> str:
    from patchword.sizing.amounts import in_bytes

    many = f"{found.devices} x " if found.devices > 1 else ""
    sizes = f"batch of {found.batch:,} each, {found.step_samples:,} samples a step"
    tokens = found.samples * found.tokens_per_sample
    rows = [
        ("training", f"{found.steps:,} steps, {found.samples:,} samples, {tokens:,} text tokens at most"),
        ("a step", _span(found.step_seconds, _seconds) + f" ({found.source})"),
    ]
    if found.devices > 1:
        rows.append(("of that talking", _span(found.talk_seconds, _seconds)))
    rows += [
        ("samples a second", _span(found.samples_per_second, _count)),
        ("hours", _span(found.hours, _count)),
    ]
    if found.cost is not None and found.price is not None:
        rows.append(("cost", f"{_span(found.cost, _money)} {found.price.currency}".rstrip()))
    if found.energy is not None:
        rows.append(("energy", f"{_span(found.energy, _count)} kWh, the boards alone"))
    memory = found.memory
    rows += [("memory, tensors", in_bytes(memory.tensors)), *_beside(memory.overheads)]
    rows.append(
        ("memory, in all", f"{_span(memory.needed, in_bytes)} of {in_bytes(memory.device)}: fits: {memory.fits}")
    )
    for kernel in found.attention:
        shape = f"{kernel.queries} x {kernel.keys}, heads of {kernel.head_dim}" + (", masked" if kernel.masked else "")
        rows.append(("attention", f"{kernel.backend}: {shape}, {kernel.calls} calls a step"))
    return f"{many}{found.device.name}, {found.precision}, {sizes}\n\n" + table(rows, ("what", "least to most"))


def _beside(rows: tuple[Overhead, ...]) -> list[tuple[str, ...]]:
    """What a device holds beside tensors."""
    from patchword.sizing.amounts import in_bytes
    from patchword.sizing.planning.scale import Interval

    return [(f"memory, {row.name}", f"{_span(Interval(row.low, row.high), in_bytes)}: {row.why}") for row in rows]


def _scaled(rows: list[Scaled]) -> str:
    from patchword.sizing.amounts import in_bytes

    header = ("ranks", "strategy", "weights", "gradients", "optimizer", "gathered", "the rest", "in all", "fits",
              "sent a step", "talking", "a step", "samples a second")  # fmt: skip
    cells = [
        (
            f"{row.share.ranks:,}",
            row.share.strategy,
            *(
                in_bytes(part)
                for part in (row.share.parameters, row.share.gradients, row.share.optimizer, row.share.gathered)
            ),
            in_bytes(row.share.rest),
            _span(row.needed, in_bytes),
            row.fits,
            in_bytes(row.share.sent),
            _span(row.talk_seconds, _seconds),
            _span(row.step_seconds, _seconds),
            _span(row.samples_per_second, _count),
        )
        for row in rows
    ]
    return table(cells, header)


def _span(interval: Interval, show: Callable[[float], str]) -> str:
    low, high = show(interval.low), show(interval.high)
    return low if low == high else f"{low} to {high}"


def _seconds(seconds: float) -> str:
    for unit, factor in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def _count(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _money(amount: float) -> str:
    return f"{amount:,.2f}"
