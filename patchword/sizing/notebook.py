"""A sizing as notebooks show it. Names are escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def as_html(rows: Iterable[Sequence[str]], lines: Iterable[str]) -> str:
    """A table, its first row the heads of columns, and lines below it; no styles, scripts or addresses."""
    header, *body = rows
    table = [_row("th", header), *(_row("td", cells) for cells in body)]
    return f"<table>{''.join(table)}</table>" + "".join(f"<p>{escape(line)}</p>" for line in lines)


def _row(tag: str, cells: Sequence[str]) -> str:
    first, *rest = (f"<{tag}>{escape(cell)}</{tag}>" for cell in cells)
    return f"<tr>{first}{''.join(rest)}</tr>"
