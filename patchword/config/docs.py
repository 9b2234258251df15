"""The documentation of settings: the text that stands under each field in the source."""

from __future__ import annotations

import ast
import functools
import inspect
import sys
from collections.abc import Iterator

from patchword.config.core import Config, field_types


@functools.cache
def field_docs(cls: type[Config]) -> dict[str, str]:
    """The text under each field, on one line; inherited fields keep theirs. A class without source has none."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        found |= _docs_in(base.__module__).get(base.__qualname__, {})
    return {name: found[name] for name in field_types(cls) if name in found}


def first_sentence(cls: type[Config]) -> str:
    """The first paragraph of a class's docstring, on one line and without its full stop."""
    return " ".join((cls.__doc__ or "").split("\n\n")[0].split()).rstrip(".")


@functools.cache
def _docs_in(module: str) -> dict[str, dict[str, str]]:
    """Field texts of every class of a module, by the class's qualified name."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, TypeError, KeyError):  # built in, frozen, or typed at a prompt
        return {}
    return {name: dict(_texts(node)) for name, node in _classes(tree, "")}


def _classes(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.ClassDef]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield prefix + child.name, child
            yield from _classes(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _classes(child, f"{prefix}{child.name}.<locals>.")
        elif isinstance(child, ast.stmt):
            yield from _classes(child, prefix)


def _texts(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for line, after in zip(node.body, node.body[1:], strict=False):
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and isinstance(after, ast.Expr):
            text = after.value.value if isinstance(after.value, ast.Constant) else None
            if isinstance(text, str):
                yield line.target.id, " ".join(text.split())
