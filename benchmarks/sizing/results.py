"""Results on disk, a line of JSON each: whoever is killed goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read(path: Path) -> list[dict[str, Any]]:
    """All results; a line that was cut off is left out."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def done(path: Path) -> set[str]:
    """Names of the cells that are there."""
    return {row["cell"] for row in read(path)}


def add(path: Path, row: dict[str, Any]) -> None:
    """One more."""
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")
