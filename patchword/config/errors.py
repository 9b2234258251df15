"""What is said when input is wrong: one message with the place, the allowed values and the nearest spelling."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple


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

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems, self.source)

    def under(self, path: str) -> list[Problem]:
        """The same problems, seen from the owner that holds this configuration at `path`."""
        return [Problem(f"{path}.{p.path}" if p.path else path, p.message) for p in self.problems]


class RunError(RuntimeError):
    """Something failed while running, and the message says what is safe. The command line prints it and exits."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


def nearest(name: object, allowed: Sequence[str]) -> str | None:
    """The allowed spelling that `name` was probably meant to be; capitals do not matter."""
    if not isinstance(name, str) or len(name) > 200:  # nobody's misspelling, and slow to compare
        return None
    spellings = {spelling.lower(): spelling for spelling in allowed}
    matches = difflib.get_close_matches(name.lower(), spellings, n=1, cutoff=0.6)
    return spellings[matches[0]] if matches else None


def unknown(what: str, name: object, allowed: Iterable[str]) -> str:
    """`unknown kind 'sofmax'; did you mean 'softmax'? allowed: linear, softmax`."""
    names = sorted(allowed)
    guess = nearest(name, names)
    hint = f"did you mean {guess!r}? " if guess else ""
    return f"unknown {what} {shown(name)}; {hint}allowed: {', '.join(names) or 'none'}"


def shown(value: object) -> str:
    """A value as it stands in a message: as a file would have it, cut to a line however large it is."""
    text = _SHORT.repr(value)
    return text if len(text) <= 200 else f"{text[:197]}..."


class _Short(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 3, 80, 80

    def repr_NoneType(self, x: None, level: int) -> str:  # noqa: N802  reprlib finds it by the type's name
        return "null"

    def repr_bool(self, x: bool, level: int) -> str:
        return str(x).lower()

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write out integers of thousands of digits
        return super().repr_int(x, level) if x.bit_length() < 1000 else f"a number of {x.bit_length()} bits"


_SHORT = _Short()
