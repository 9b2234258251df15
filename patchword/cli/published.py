"""`patchword size --formula published`: what was published about a model's size, beside what is true of it."""

from __future__ import annotations

import textwrap
from typing import Any

import typer

from patchword.cli.options import print_json, table


def show(name: str, formula: str, settings: dict[str, Any], batch: int | None, as_json: bool) -> None:
    """Print the comparison.

    Raises:
        UserError: there is no such formula or model.
    """
    from patchword.config import UserError, unknown
    from patchword.costs import published

    if formula != "published":
        raise UserError(unknown("formula", formula, ("published",)))
    found = published(name, batch, **settings)
    if as_json:
        print_json(found.to_dict())
        return
    first = [f"{found.model}, batch of {found.batch}.", f"Published by {found.system}."]
    lines = [*first, "", table(list(found.rows), found.header), ""]
    lines += [textwrap.fill(note, 100, initial_indent="- ", subsequent_indent="  ") for note in found.notes]
    typer.echo("\n".join(lines))
