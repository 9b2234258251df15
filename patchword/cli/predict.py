"""`patchword predict`: what a trained model says of new pictures."""

from __future__ import annotations

from typing import Annotated

import typer

from patchword.cli.options import Json, Run, print_json


def command(
    run: Run,
    image: Annotated[
        list[str] | None, typer.Option("--image", metavar="PATH", help="A picture; may be given several times.")
    ] = None,
    text: Annotated[
        str | None, typer.Option("--text", help="How the answer begins; the model goes on from there.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Use a trained model on new pictures."""
    from patchword.config.errors import UserError

    if not image:
        raise UserError("name at least one picture: --image PATH")
    from patchword.api import load

    predictions = load(run).predict(image, text=text)
    if as_json:
        print_json({"predictions": [{"id": p.id, "text": p.text, "score": p.score} for p in predictions]})
        return
    for prediction in predictions:
        typer.echo(prediction.text if len(predictions) == 1 else f"{prediction.id}: {prediction.text}")
