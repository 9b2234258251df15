"""What can go wrong while training, other than the input."""

from __future__ import annotations


class RunError(RuntimeError):
    """Training could not go on. The message says what is safe and how to resume; the command line exits with 1."""
