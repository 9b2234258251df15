"""`patchword check`: what is wrong with a data set."""

from __future__ import annotations

from typing import Annotated

import typer

from patchword.cli.options import Json, Overrides, print_json


def command(
    data: Annotated[str, typer.Argument(metavar="DATA", help="A folder, archive or table of pictures and captions.")],
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Look for what is wrong with a data set; exit 2 above the allowed share of bad samples (data.bad_samples)."""
    from patchword.config import DataConfig, override, parse_overrides
    from patchword.data.doctor import check

    changes = {path.removeprefix("data."): value for path, value in parse_overrides(overrides or []).items()}
    report = check(override(DataConfig(source=data), changes))
    if as_json:
        print_json(report.to_json())
    else:
        typer.echo("\n".join(report.lines()))
    if not report.ok:
        raise typer.Exit(2)
