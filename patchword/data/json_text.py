"""UTF-8 and JSON in the files of a data set: what is not as it should be is said with its file and line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from patchword.config import UserError


def decode(name: str, data: bytes) -> str:
    """The text of a UTF-8 file, with or without a byte order mark.

    Raises:
        UserError: it is no UTF-8; the message names the line.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{name}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from error


def parse(place: str, text: str) -> Any:
    """What a JSON text says.

    Raises:
        UserError: it is no JSON, or none that can be held.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text else ""
        raise UserError(f"{place}: not JSON at {line}column {error.colno}: {error.msg}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; lists in lists in lists
        raise UserError(f"{place}: JSON that cannot be read ({error})") from error


def as_object(place: str, item: Any, hint: str = "") -> Mapping[str, Any]:
    """The same, which should be an object.

    Args:
        place: what messages call it.
        item: what JSON said.
        hint: what the message goes on with.

    Raises:
        UserError: it is none.
    """
    if not isinstance(item, dict):
        raise UserError(f"{place}: should be an object, got {str(item)[:40]!r}{hint}")
    return item


def read_object(place: str, data: bytes, hint: str = "") -> Mapping[str, Any]:
    """The object in the bytes of a JSON file.

    Raises:
        UserError: there is none; as `decode`, `parse` and `as_object`.
    """
    return as_object(place, parse(place, decode(place, data)), hint)
