"""The configuration with quiet colours."""

from __future__ import annotations

import re

from patchword.report.markup import Html, clean, join, node

_LINE = re.compile(
    r"(?P<lead>\s*(?:- )*)(?P<key>[^\s#:'\"][^:#'\"]*:(?=\s|$))?(?P<value>.*?)(?P<note>(?:^|(?<=\s))#.*)?"
)
_SCALAR = re.compile(r"\s*(?:[-+.]?\d[\w.+-]*|true|false|null|[-+]?\.inf|\.nan)\s*")


def listing(yaml: str) -> Html:
    """YAML as it is written, with keys, plain values and comments marked."""
    attributes = {"tabindex": 0, "role": "group", "aria-label": "Configuration"}
    return node("pre", attributes, node("code", None, join(map(_line, clean(yaml).split("\n")), "\n")))


def _line(text: str) -> Html:
    found = _LINE.fullmatch(text)
    assert found is not None, "every part of the pattern may be empty"
    lead, key, value, note = found["lead"], found["key"], found["value"], found["note"]
    plain = _SCALAR.fullmatch(value) is not None
    return join(
        [
            lead,
            node("span", {"class": "key"}, key) if key else None,
            node("span", {"class": "plain"}, value) if plain else value,
            node("span", {"class": "note"}, note) if note else None,
        ]
    )
