"""A row of a table, whatever keeps the table."""

from __future__ import annotations

from typing import Any, NamedTuple


class Row(NamedTuple):
    """Some cells of one row."""

    number: int
    """Its line in the file, or its number among the rows; from 1."""
    cells: tuple[Any, ...]
    """In the order that was asked for; None where the row has no such cell."""
