"""The command line. Each command has a small file of its own; torch is imported inside commands only."""

from patchword.cli.app import main

__all__ = ["main"]
