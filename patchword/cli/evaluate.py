"""`patchword evaluate`: how good a trained model is."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from patchword.cli.options import Json, Run, print_json


def command(
    run: Run,
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="A folder, archive or table; none: the run's own data.")
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", metavar="NAME", help="Which split; none: test, or val where there is none.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Look at this many samples at most.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A setting of task or data in place of the run's own; may be given several times.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure a trained model on a data set."""
    from patchword.api import load
    from patchword.config import parse_overrides
    from patchword.training.display import number

    evaluation = load(run, **parse_overrides(settings or [])).evaluate(data, split, limit)
    if as_json:
        found: dict[str, Any] = {"metrics": evaluation.metrics, "count": evaluation.count, "split": evaluation.split}
        confusion = evaluation.confusion
        if confusion is not None:
            rows = dict(zip(confusion.truths, confusion.counts.tolist(), strict=True))
            found["confusion"] = {"said": confusion.labels, "counts": rows}
        print_json(found)
        return
    typer.echo(f"{evaluation.count} samples of {evaluation.split}")
    width = max(len(name) for name in evaluation.metrics)
    for name, value in evaluation.metrics.items():
        typer.echo(f"  {name:<{width}}  {number(value)}")
    for bad in evaluation.bad:
        typer.echo(f"left out: {bad.id}: {bad.reason}: {bad.message}", err=True)
