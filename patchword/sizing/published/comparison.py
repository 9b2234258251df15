"""What a comparison with a publication says."""

from __future__ import annotations

from typing import Any, NamedTuple


class Comparison(NamedTuple):
    """A table of what was printed and what is true, with what differs and why."""

    model: str
    """Its name."""
    system: str
    """Whose publication it is, in words."""
    batch: int
    """Samples."""
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """For people: one cell a column of the header."""
    notes: tuple[str, ...]
    """What is wrong or left out in the publication, a sentence each."""
    published: dict[str, Any]
    """Figures as published, plain data."""
    true: dict[str, Any]
    """Figures of the model itself, plain data."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `patchword size --formula published --json` prints it."""
        rows = [dict(zip(self.header, row, strict=True)) for row in self.rows]
        return self._asdict() | {"header": list(self.header), "rows": rows, "notes": list(self.notes)}
