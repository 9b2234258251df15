"""The type of one setting: whether a value has it, and what it is called."""

from __future__ import annotations

import functools
import math
import types
import typing
from collections.abc import Callable
from typing import Any

from patchword.config.errors import shown, unknown


def conform(value: Any, hint: Any) -> Any:
    """The value as its type wants it: an int where a float is asked becomes one, a list where a tuple is asked.

    Raises:
        ValueError: it has another type, is beyond a limit, or is no finite number; the message says what it should be.
    """
    if isinstance(value, dict) and not value and typing.get_origin(hint) is dict:
        return {}  # nothing to check
    if isinstance(value, list) and any(typing.get_origin(option) is tuple for option in options(hint)):
        value = tuple(value)
    from pydantic import ValidationError  # not at the top: it takes a tenth of a second, and defaults need no check

    try:
        checked = _adapter(hint).validate_python(value)
    except ValidationError as error:
        raise ValueError(_misfit(value, hint)) from error
    if not _finite(checked):
        raise ValueError(_misfit(value, hint))
    if not _unicode(checked):
        raise ValueError(f"holds half a character: {shown(value)}")
    return checked


def schema(hint: Any) -> dict[str, Any]:
    """JSON Schema of a type."""
    return _adapter(hint).json_schema()


@functools.cache
def _adapter(hint: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(hint, config=ConfigDict(strict=True, allow_inf_nan=False))


def options(hint: Any) -> tuple[Any, ...]:
    """The types that `A | B` stands for; any other stands for itself."""
    return typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)


# ------------------------------------------------------------------ in words

_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", types.NoneType: "null"}
_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def describe(hint: Any) -> str:
    """A type in a user's words: `a whole number > 0 or null`, `one of a, b`."""
    return " or ".join(_describe_option(option) for option in options(hint))


def _describe_option(option: Any) -> str:
    args = typing.get_args(option)
    if (compound := _COMPOUND.get(typing.get_origin(option))) is not None:
        return compound(args)
    return _WORDS.get(option, getattr(option, "__name__", str(option)))


def _describe_tuple(args: tuple[Any, ...]) -> str:
    if args[-1] is Ellipsis:
        return f"a list, each {describe(args[0])}"
    return f"a list of {len(args)}: {', '.join(map(describe, args))}"


def _describe_limits(args: tuple[Any, ...]) -> str:
    limits = [
        f"{sign} {getattr(limit, name)}" for limit in args[1:] for name, sign in _SIGNS.items() if hasattr(limit, name)
    ]
    return f"{describe(args[0])} {' and '.join(limits)}"


_COMPOUND: dict[Any, Callable[[tuple[Any, ...]], str]] = {
    typing.Literal: lambda args: f"one of {', '.join(map(str, args))}",
    typing.Annotated: _describe_limits,
    tuple: _describe_tuple,
    list: lambda args: f"a list, each {describe(args[0])}",
    dict: lambda args: f"a mapping of names to {describe(args[1])}",
}


def _finite(value: Any) -> bool:
    if isinstance(value, dict | list | tuple):
        return all(map(_finite, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)


def _unicode(value: Any) -> bool:
    """Whether text is whole: half a character, as JSON may hold one, could not be written to any file."""
    if isinstance(value, dict | list | tuple):
        return all(map(_unicode, [*value, *(value.values() if isinstance(value, dict) else ())]))
    return not isinstance(value, str) or not any("\ud800" <= sign <= "\udfff" for sign in value)


def _misfit(value: Any, hint: Any) -> str:
    words = [word for o in options(hint) if typing.get_origin(o) is typing.Literal for word in typing.get_args(o)]
    if words and isinstance(value, str):
        return unknown("value", value, [*words, *(["null"] if types.NoneType in options(hint) else [])])
    finite = "" if _finite(value) else " and finite"
    return f"should be {describe(hint)}{finite}, got {shown(value)}"
