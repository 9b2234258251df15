"""Parts that pages are put together from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from patchword.report.markup import Html, node


class Section(NamedTuple):
    """A part of the page."""

    name: str
    """Its anchor."""
    title: str
    content: Sequence[Html]
    lead: str = ""
    """A sentence before the content."""


def tile(label: str, value: str, note: str) -> Html:
    """A figure to know first."""
    parts = node("dt", None, label), node("dd", {"class": "value"}, value), node("dd", {"class": "unit"}, note)
    return node("div", None, *parts)


def fact_list(facts: Mapping[str, str]) -> Html:
    """Names and values."""
    rows = [node("div", None, node("dt", None, name), node("dd", None, value)) for name, value in facts.items()]
    return node("dl", {"class": "facts"}, *rows)


def details(summary_text: str, content: Html) -> Html:
    """What is shown on demand."""
    return node("details", None, node("summary", None, summary_text), content)


def table(head: Sequence[Html], rows: Sequence[Html]) -> Html:
    """Rows under a head, to be scrolled where they are too wide."""
    inner = node("table", None, node("thead", None, *head), node("tbody", None, *rows))
    return node("div", {"class": "scroll", "tabindex": 0, "role": "group", "aria-label": "Table"}, inner)


def heading(text: str, kind: str | None = None) -> Html:
    """A column's name; without one, an empty cell."""
    return node("th" if text else "td", {"scope": "col" if text else None, "class": kind}, text)


def row(label: str, meaning: str, values: Sequence[str]) -> Html:
    """A name and its values."""
    name = node("th", {"scope": "row"}, label, node("span", {"class": "meaning"}, meaning) if meaning else None)
    return node("tr", None, name, *(node("td", {"class": "number"}, value) for value in values))
