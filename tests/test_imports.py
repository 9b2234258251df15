"""The architecture, read off the imports: they point down, and heavy libraries stay where they belong."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import patchword

ROOT = Path(patchword.__file__).parent
FACADES = {"patchword", "patchword.__main__"}  # the front doors: they may name anything

# From the top down. A module imports from its own room and from those below; rooms of one row do not know each other.
LAYERS = (
    ("cli",),
    ("plans",),
    ("api", "costs"),
    ("compare", "deploy", "report"),  # they read what training left
    ("training",),
    ("tasks", "sizing"),
    ("testing",),
    ("models", "data"),
    ("nn",),
    ("cache",),
    ("sequence",),
    ("config",),
)
LEVEL = {room: level for level, rooms in enumerate(reversed(LAYERS)) for room in rooms}

# A library, and the only places that may import it.
HOMES = {
    "torch.distributed": (
        "patchword.training.parallel",
        "patchword.sizing.planning.shards",
        "patchword.tasks.gathered",
    ),
    "PIL": ("patchword.data",),
    "simplejpeg": ("patchword.data",),
    "tokenizers": ("patchword.data",),
    "onnx": ("patchword.deploy",),
    "onnxruntime": ("patchword.deploy",),
    "matplotlib": ("patchword.report", "patchword.compare"),
    "typer": ("patchword.cli",),
    "pickle": (),
}


class Import(NamedTuple):
    """One import: who, what, where, and whether it runs when the module is loaded."""

    importer: str
    target: str
    line: int
    at_load: bool


def module_name(path: Path) -> str:
    parts = ("patchword", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(tree: ast.AST, importer: str) -> Iterator[Import]:
    def walk(node: ast.AST, at_load: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            yield from (Import(importer, alias.name, node.lineno, at_load) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{importer}:{node.lineno}: a relative import"
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (Import(importer, name, node.lineno, at_load) for name in names)
        elif isinstance(node, ast.Call):
            yield from called(node, at_load)
        deferred = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or only_for_types(node)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, at_load and not deferred)

    def called(node: ast.Call, at_load: bool) -> Iterator[Import]:
        name = ast.unparse(node.func)
        if name.endswith("import_module") or name == "__import__":
            yield from (
                Import(importer, arg.value, node.lineno, at_load)
                for arg in node.args
                if isinstance(arg, ast.Constant) and isinstance(arg.value, str)
            )

    yield from walk(tree, at_load=True)


def only_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


IMPORTS = [
    found
    for path in sorted(ROOT.rglob("*.py"))
    for found in imports_of(ast.parse(path.read_text(encoding="utf-8")), module_name(path))
]


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def room(name: str) -> str:
    return [*name.split("."), ""][1]


def problem(found: Import) -> str | None:
    """What is wrong with an import; None: nothing."""
    if within(found.target, "patchword") and found.importer not in FACADES:
        here, there = room(found.importer), room(found.target)
        if there not in LEVEL:  # `from patchword import __version__`
            return None if there in ("", "__version__") else f"{there!r} is in no layer"
        if here not in LEVEL:
            return f"{here!r} is in no layer"
        if here != there and LEVEL[there] >= LEVEL[here]:
            return f"{here} may not know {there}"
    if found.importer.startswith("patchword.config") and within(found.target, "torch"):
        return "config never imports torch"
    if found.importer.startswith("patchword.cli") and found.at_load and within(found.target, "torch"):
        return "torch is imported inside commands only"
    for library, homes in HOMES.items():
        if within(found.target, library) and not any(within(found.importer, home) for home in homes):
            return f"{library} belongs to {', '.join(homes) or 'no one'}"
    return None


def test_every_import_is_where_it_may_be() -> None:
    wrong = [f"{f.importer}:{f.line} imports {f.target}: {why}" for f in IMPORTS if (why := problem(f))]
    assert not wrong, "\n".join(wrong)


def test_every_room_of_the_package_has_a_layer() -> None:
    rooms = {room(module_name(path)) for path in ROOT.rglob("*.py")} - {"", "__main__"}
    assert rooms <= set(LEVEL)
    assert len(IMPORTS) > 300


@pytest.mark.parametrize(
    ("importer", "source", "why"),
    [
        ("patchword.nn.block", "from patchword.models.model import Model", "nn may not know models"),
        ("patchword.nn.block", "from patchword import models", "nn may not know models"),
        ("patchword.models.model", "import patchword.data.batch", "models may not know data"),
        ("patchword.data.image", "def f():\n    from patchword.models import create", "data may not know models"),
        ("patchword.sequence", "from patchword.cache import StackCache", "sequence may not know cache"),
        ("patchword.tasks.base", "from patchword.training import trainer", "tasks may not know training"),
        ("patchword.training.trainer", "import_module('patchword.cli.app')", "training may not know cli"),
        ("patchword.config.core", "def f():\n    import torch.nn", "config never imports torch"),
        ("patchword.cli.train", "from torch import nn", "torch is imported inside commands only"),
        ("patchword.cli.train", "class A:\n    import torch", "torch is imported inside commands only"),
        ("patchword.cli.train", "def f():\n    import torch", None),
        ("patchword.cli.train", "if TYPE_CHECKING:\n    import torch", None),
        ("patchword.training.trainer", "import torch.distributed as dist", "torch.distributed belongs to"),
        ("patchword.training.trainer", "from torch import distributed", "torch.distributed belongs to"),
        ("patchword.training.parallel", "from torch.distributed import barrier", None),
        ("patchword.tasks.captioning", "from PIL import Image", "PIL belongs to patchword.data"),
        ("patchword.report.page", "def f():\n    import simplejpeg", "simplejpeg belongs to patchword.data"),
        ("patchword.tasks.captioning", "import tokenizers", "tokenizers belongs to patchword.data"),
        ("patchword.training.checkpoint", "import pickle", "pickle belongs to no one"),
        ("patchword.data.image", "from PIL import Image", None),
        ("patchword.new_room", "from patchword.config import Config", "'new_room' is in no layer"),
    ],
)
def test_the_rules_see_what_they_should(importer: str, source: str, why: str | None) -> None:
    found = [problem(each) for each in imports_of(ast.parse(source), importer)]
    assert len(found) == 1
    assert (found[0] is None) if why is None else (why in (found[0] or ""))


@pytest.mark.parametrize("module", ["patchword", "patchword.config", "patchword.cli", "patchword.models.presets"])
def test_is_loaded_without_torch(module: str) -> None:
    """Also by way of others: what answers before there is anything to compute must answer at once."""
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT.parent).returncode == 0
