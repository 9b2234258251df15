"""`patchword convert`: weights in from other programs, and out to them."""

from __future__ import annotations

from typing import Annotated

import typer

from patchword.cli.options import Json, print_json


def command(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="A Hugging Face folder or a checkpoint file; or a model of patchword's."),
    ],
    out: Annotated[str, typer.Argument(metavar="OUT", help="A new folder.")],
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="LAYOUT", help="How to write a model of ours; none: as what it came from."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Read another program's model, or write one that it reads.

    A model of another program becomes a folder that patchword.create_model reads; a run, or such a folder, becomes one
    that Hugging Face's from_pretrained reads.
    """
    from patchword.training.convert import convert

    done = convert(source, out, to)
    if as_json:
        found = {"out": str(done.out), "layout": done.layout, "direction": "out" if done.written else "in"}
        more = {"notes": list(done.notes), "renumbered": dict(done.renumbered)}
        print_json(found | {"parameters": done.parameters, "left_out": done.left_out} | more)
        return
    verb = "written as" if done.written else "read from"
    typer.echo(f"{done.out}: {done.parameters:,} parameters, {verb} the layout {done.layout}")
    for name, what in done.left_out.items():
        typer.echo(f"left out: {name}: {what}", err=True)
    for note in done.notes:
        typer.echo(f"note: {note}", err=True)
