"""`patchword presets`: what there is to start from."""

from __future__ import annotations

import typer

from patchword.cli.options import Json, print_json, table


def command(as_json: Json = False) -> None:
    """List the named configurations."""
    from patchword.api import presets

    rows = presets()
    if as_json:
        print_json(rows)
        return
    cells = [(r["name"], r["task"], f"{r['parameters']:,}", r["source"], r["summary"]) for r in rows]
    typer.echo(table(cells, ("name", "task", "parameters", "source", "")))
