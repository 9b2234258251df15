"""`patchword predict`: what a trained model says of new pictures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from patchword.cli.options import Json, Run, print_json


def command(
    run: Run,
    image: Annotated[
        list[str] | None, typer.Option("--image", metavar="PATH", help="A picture; may be given several times.")
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            "--text",
            metavar="TEXT",
            help="What is read: a sentence, a question; for captions, how they begin. May be given several times.",
        ),
    ] = None,
    lines: Annotated[
        str | None,
        typer.Option("--lines", metavar="FILE", help="A file with a text a line; -: standard input."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Use a trained model on new pictures and texts."""
    from patchword.api import load
    from patchword.config import UserError

    if text and lines is not None:
        raise UserError("--text and --lines both say what is read: drop one of them")
    every = read_lines(lines) if lines is not None else []
    asked = [line for line in every if line] if lines is not None else text or None
    predictions = load(run).predict(image or None, text=asked)
    if as_json:
        rows: list[dict[str, Any]] = [{"id": p.id, "text": p.text, "score": p.score} for p in predictions]
        for row, prediction in zip(rows, predictions, strict=True):
            if prediction.task is not None:
                row["task"] = prediction.task
            if prediction.choices:
                row["choices"] = [{"text": said, "probability": share} for said, share in prediction.choices]
        print_json({"predictions": rows})
        return
    if lines is not None and any(p.task is not None for p in predictions):
        raise UserError("--lines: this run has several tasks, whose answers would stand on one line: use --json")
    if lines is not None:
        said = iter(predictions)
        for line in every:  # a blank one keeps its place
            typer.echo(" ".join(next(said).text.split("\n")) if line else "")
        return
    for prediction in predictions:
        name = prediction.id if prediction.task is None else f"{prediction.id}, {prediction.task}"
        typer.echo(prediction.text if len(predictions) == 1 else f"{name}: {prediction.text}")


def read_lines(path: str) -> list[str]:
    """The lines of a UTF-8 file (`-`: of standard input), blanks around them removed.

    Raises:
        UserError: it cannot be read, or is not UTF-8.
    """
    from patchword.config import UserError
    from patchword.data.json_text import decode

    try:
        data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"--lines {path}: {error.strerror}") from error
    return [line.strip() for line in decode(path, data).removesuffix("\n").split("\n")] if data else []
