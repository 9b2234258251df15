"""A folder that holds a model, config.json and model.safetensors: a run has one, `patchword convert` writes one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from patchword.config import ModelConfig, UserError, override, read_file
from patchword.models.model import Model
from patchword.models.weights import load_weights

SETTINGS, WEIGHTS, FORMAT = "config.json", "model.safetensors", 1


def model_folder(path: str | Path) -> Path | None:
    """Where in a folder a model of ours is; None: it holds none, or is no folder."""
    for folder in (Path(path), Path(path) / "model"):
        if (folder / SETTINGS).is_file() and (folder / WEIGHTS).is_file() and "format" in read_file(folder / SETTINGS):
            return folder
    return None


def settings_of(folder: Path) -> tuple[ModelConfig, dict[str, Any]]:
    """The model in a folder, and all that its config.json says.

    Raises:
        UserError: it is of another version, or no configuration.
    """
    path = folder / SETTINGS
    data = read_file(path)
    if data.get("format") != FORMAT:
        raise UserError(f"{path}: format {data.get('format')!r} is not known here (known: {FORMAT})")
    model = data.get("model")
    if model is None:
        run = data.get("run")
        model = run.get("model") if isinstance(run, Mapping) else None
    if not isinstance(model, Mapping):
        raise UserError(f"{path}: names no model")
    return ModelConfig.from_dict(model, str(path)), data


def read_model(folder: Path, changes: Mapping[str, Any]) -> Model:
    """The model in a folder, with its weights.

    Args:
        folder: what `model_folder` gave.
        changes: dotted settings; the weights still have to fit.

    Raises:
        UserError: the folder's settings are wrong, or its weights are of another model.
    """
    config, _ = settings_of(folder)
    if changes:
        config = override(config, {path.removeprefix("model."): value for path, value in changes.items()})
    model: Model = config.build()
    load_weights(model, folder / WEIGHTS)
    return model
