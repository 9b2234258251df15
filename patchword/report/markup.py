"""Putting HTML together so that no text can become markup: a `str` is escaped unless it is `Html`."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping


class Html(str):
    """Text that is HTML already. Every other `str` is escaped where it is put in."""

    __slots__ = ()


Attributes = Mapping[str, str | int | float | bool | None]

_FORBIDDEN = re.compile("[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufdcf\ufdf0-\ufffd\U00010000-\U0010ffff]")
"""Characters that an HTML document may not hold (controls, halves of surrogate pairs, non-characters)."""

_EMPTY = frozenset(["meta", "link", "img", "br", "circle", "line", "path", "rect", "use", "image"])
"""Elements without content, in HTML and in the SVG that is used here."""


def clean(text: str) -> str:
    """The text as a document can hold it: what may not be there becomes U+FFFD, line ends become newlines."""
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n").replace("\r", "\n"))


def escape(text: str) -> Html:
    """The text as it stands, for an element's content or an attribute's value; `Html` is left alone."""
    return text if isinstance(text, Html) else Html(html.escape(clean(text)))


def join(parts: Iterable[str | None], between: str = "") -> Html:
    """Parts one after another; None is left out."""
    return Html(escape(between).join(escape(part) for part in parts if part is not None))


def node(tag: str, attributes: Attributes | None = None, *children: str | None) -> Html:
    """An element. Attributes that are None or False are left out, True has no value."""
    opening = f"<{tag}{''.join(_attribute(name, value) for name, value in (attributes or {}).items())}"
    if tag in _EMPTY and not children:
        return Html(f"{opening}/>")
    return Html(f"{opening}>{join(children)}</{tag}>")


def _attribute(name: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    if value is True:
        return f" {name}"
    return f' {name}="{html.escape(clean(str(value)))}"'
