"""The commands, and what becomes of an error: one message and an exit code, never a traceback for a user's mistake.

Exit 0: done. 1: failed while running. 2: the input was wrong. 128 + n: stopped by signal n, with a durable checkpoint.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer

from patchword import __version__
from patchword.cli import (
    calibrate,
    check,
    convert,
    evaluate,
    explain,
    plan,
    predict,
    presets,
    show,
    size,
    train,
    verify,
)

app = typer.Typer(
    name="patchword",
    help="Design, size, train, compare and ship multimodal transformers from one typed configuration.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (presets, show, size, explain, plan, calibrate, verify, check, train, evaluate, predict, convert):
    app.command(module.__name__.rpartition(".")[2])(module.command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"patchword {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    try:
        code = app(args=list(sys.argv[1:] if argv is None else argv), prog_name="patchword", standalone_mode=False)
    except typer.Exit as stop:
        return stop.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return _fail("stopped", 130)
    except BrokenPipeError:  # `patchword show ... | head`: the reader has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _explain(error)
    return code if isinstance(code, int) else 0


def _explain(error: Exception) -> int:
    from patchword.config.errors import RunError, UserError  # not at the top: `--help` has no use for settings

    if isinstance(error, UserError):
        return _fail(str(error), 2)
    if isinstance(error, RunError):
        return _fail(str(error), error.code)
    if hasattr(error, "format_message"):
        return _usage(error)
    raise error


def _usage(error: Exception) -> int:
    """The parser's own message about words that are no command, option or value, and what was probably meant."""
    context = getattr(error, "ctx", None)
    if context is not None:
        typer.echo(context.get_usage(), err=True)
    message: str = error.format_message()  # pyright: ignore[reportAttributeAccessIssue]
    option = getattr(error, "option_name", None) or ""
    if "." in option:
        message += f" Settings have no dashes: {option.lstrip('-')}=VALUE"
    elif context is not None:
        message += f" See: {context.command_path} --help"
    return _fail(message, 2)


def _fail(message: str, code: int) -> int:
    typer.echo(f"error: {message}", err=True)
    return code
