"""What is said when a user's input is wrong: one message that names the place, the allowed values, the nearest spelling."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class UserError(ValueError):
    """The input was wrong. The command line prints the message alone and exits with 2."""


class Problem(NamedTuple):
    """One thing that is wrong, and where: `path` is dotted, `""` for the whole."""

    path: str
    message: str


class ConfigError(UserError):
    """Everything that is wrong with a configuration, in one message."""

    def __init__(self, problems: Iterable[Problem], source: str = "configuration") -> None:
        self.problems = list(problems)
        self.source = source
        count = f"{len(self.problems)} problem" + ("s" if len(self.problems) != 1 else "")
        lines = [f"  {p.path or '(top)'}: {p.message}" for p in self.problems]
        super().__init__("\n".join([f"{source}: {count}", *lines]))

    def under(self, path: str) -> list[Problem]:
        """The same problems, seen from the owner that holds this configuration at `path`."""
        return [Problem(f"{path}.{p.path}" if p.path else path, p.message) for p in self.problems]


def nearest(name: object, allowed: Sequence[str]) -> str | None:
    """The allowed spelling that `name` was probably meant to be."""
    matches = difflib.get_close_matches(str(name), allowed, n=1, cutoff=0.6)
    return matches[0] if matches else None


def unknown(what: str, name: object, allowed: Iterable[str]) -> str:
    """`unknown kind 'sofmax'; did you mean 'softmax'? allowed: linear, softmax`."""
    names = sorted(allowed)
    guess = nearest(name, names)
    hint = f"did you mean {guess!r}? " if guess else ""
    return f"unknown {what} {name!r}; {hint}allowed: {', '.join(names) or 'none'}"


class RunError(RuntimeError):
    """Something failed while running, and the message says what is safe. The command line prints it and exits."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code
