"""Configurations in files: a path that leads to one, else one of those that come with the package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from patchword.config import UserError, read_file

_HERE = Path(__file__).parent
_ENDINGS = (".yaml", ".yml", ".json")


def shipped() -> list[str]:
    """What the package brings, by the paths that it is asked for by: `configs/base_text_image_model.json`."""
    return sorted(path.relative_to(_HERE).as_posix() for path in (_HERE / "configs").iterdir())


def configuration_file(spec: str | Path) -> Path | None:
    """The file that a name means: the one at that path, else the one that comes with the package; None: it means none.

    A path that ends like a configuration's means that file even where there is none: reading it says so.
    """
    path = Path(spec)
    if not path.exists() and path.as_posix() in shipped():
        return _HERE / path
    return path if path.suffix in _ENDINGS or path.is_file() else None


def is_model_alone(data: Mapping[str, Any]) -> bool:
    """Whether plain data is of a model without a task."""
    return "towers" in data and "model" not in data


def read_run(path: Path, spec: str) -> dict[str, Any]:
    """The plain data of a run's file.

    Raises:
        UserError: it cannot be read, or holds a model alone.
    """
    data = read_file(path)
    if is_model_alone(data):
        raise UserError(
            f"{spec}: holds a model without a task, which create_model takes; a run has task and model (and may name a "
            "preset that brings them)"
        )
    return data
