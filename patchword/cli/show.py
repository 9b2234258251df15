"""`patchword show`: a complete configuration, with a line about each field."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from patchword.cli.options import Json, print_json


def command(
    spec: Annotated[
        str | None, typer.Argument(metavar="PRESET_OR_FILE", help="A preset's name, or a .yaml or .json file.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Settings to change: train.steps=500")
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of a configuration.")] = False,
    as_json: Json = False,
) -> None:
    """Print a complete configuration.

    Defaults are filled in, and one comment stands above each field.
    """
    from patchword.config import RunConfig, UserError, json_schema, parse_overrides, to_yaml
    from patchword.models.presets import PRESETS, load_config

    if schema:
        typer.echo(json.dumps(json_schema(RunConfig, PRESETS), indent=2))
        return
    if spec is None:
        raise UserError(f"name a preset ({', '.join(PRESETS)}) or a file, or ask for --schema")
    config = load_config(spec, parse_overrides(overrides or []))
    if as_json:
        print_json(config.to_dict())
    else:
        typer.echo(to_yaml(config), nl=False)
