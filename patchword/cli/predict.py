"""`patchword predict`: what a trained model says of new pictures."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from patchword.cli.options import Json, Run, print_json


def command(
    run: Run,
    image: Annotated[
        list[str] | None, typer.Option("--image", metavar="PATH", help="A picture; may be given several times.")
    ] = None,
    text: Annotated[
        str | None, typer.Option("--text", help="What is said along with it: for captions, how they begin.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Use a trained model on new pictures."""
    from patchword.api import load

    predictions = load(run).predict(image or None, text=text)
    if as_json:
        rows: list[dict[str, Any]] = [{"id": p.id, "text": p.text, "score": p.score} for p in predictions]
        for row, prediction in zip(rows, predictions, strict=True):
            if prediction.choices:
                row["choices"] = [{"text": said, "probability": share} for said, share in prediction.choices]
        print_json({"predictions": rows})
        return
    for prediction in predictions:
        typer.echo(prediction.text if len(predictions) == 1 else f"{prediction.id}: {prediction.text}")
