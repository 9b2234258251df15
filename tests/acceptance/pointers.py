"""Tests named in pages and tables: whether they exist, without running or importing them."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def exists(test: str) -> bool:
    """Whether there is the function that `tests/room/test_file.py::test_name` names."""
    file, _, name = test.partition("::")
    return name in _functions(ROOT / file)


@functools.cache
def _functions(path: Path) -> frozenset[str]:
    if not path.is_file():
        return frozenset()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
