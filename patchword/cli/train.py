"""`patchword train`: a model from a configuration and data."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from patchword.cli.options import Json, Overrides, Spec, print_json


def command(
    spec: Spec,
    overrides: Overrides = None,
    out: Annotated[str, typer.Option("--out", metavar="RUN", help="The folder that the run is kept in.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint in RUN.")] = False,
    as_json: Json = False,
) -> None:
    """Train a model.

    RUN then holds the model, checkpoints, metrics and a report. Ctrl-C and SIGTERM leave a checkpoint to resume from.
    """
    from patchword.config import UserError, parse_overrides

    if not out:
        raise UserError("say where the run is to be kept: --out RUN")
    from patchword.models.presets import load_config

    config = load_config(spec, parse_overrides(overrides or []))  # refused before torch is imported
    from patchword.api import train

    result = train(config, out, resume=resume)
    if as_json:
        print_json({"run": str(result.run), "steps": result.steps, "metrics": result.metrics})
    # the shell's own convention for what a signal ended
    if result.stopped is not None and result.stopped in signal.Signals.__members__:
        raise typer.Exit(128 + signal.Signals[result.stopped])
