"""`patchword check`: what is wrong with a data set."""

from __future__ import annotations

from typing import Annotated, cast

import typer

from patchword.cli.options import Json, picture_counter, print_json


def command(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A folder, archive or table.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings of data: data.bad_samples.max_share=0.1")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", metavar="KIND", help="Which task it is for: captioning, ...; none: every text counts."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Look for what is wrong with a data set.

    Exit 2 where a larger share of its pictures cannot be read than data.bad_samples allows.
    """
    from patchword.config import DataConfig, TaskConfig, UserError, override, parse_overrides, unknown
    from patchword.config.core import required_fields
    from patchword.data.columns import ANYTHING
    from patchword.data.doctor import check

    kinds = [name for name, kind in TaskConfig.kinds.items() if not required_fields(kind)]  # of several, one by one
    if task is not None and task not in kinds:
        raise UserError(f"--task: {unknown('task', task, kinds)}")
    fields = cast(TaskConfig, TaskConfig.kinds[task]()).fields if task is not None else ANYTHING

    changes = {path.removeprefix("data."): value for path, value in parse_overrides(overrides or []).items()}
    with picture_counter() as progress:
        report = check(override(DataConfig(source=data), changes), progress=progress, fields=fields)
    if as_json:
        print_json(report.to_json())
    else:
        typer.echo("\n".join(report.lines()))
    if not report.ok:
        raise typer.Exit(2)
