"""What a user names as SOURCE: a Hugging Face folder, a checkpoint file, or a folder of ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file

from patchword.config import UserError, read_file, unknown
from patchword.models.convert.keymap import Weights
from patchword.models.convert.pickled import read_pickled

_SETTINGS, _PICTURES = "config.json", "preprocessor_config.json"
_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_PICKLED = (".pt", ".pth", ".bin", ".ckpt")


class Source(NamedTuple):
    """A foreign model as it was found."""

    settings: dict[str, Any]
    """Its config.json, and what says how pixels are prepared."""
    weights: Weights
    """Its tensors by name."""


def read_source(path: Path) -> Source:
    """A folder with config.json and weights, or a checkpoint file that says itself what it is.

    Raises:
        UserError: it is neither, or damaged.
    """
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder")
    if path.suffix not in _PICKLED:
        raise UserError(f"{path}: should be a folder with {_SETTINGS}, or a file that ends in {', '.join(_PICKLED)}")
    weights, about = read_pickled(path)
    arguments = about.get("model_args")
    if not isinstance(arguments, Mapping):
        beside = path.parent / _SETTINGS
        if not beside.is_file():
            raise UserError(
                f"{path} does not say what model it is of: it has no model_args as nanoGPT's have, "
                f"and there is no {_SETTINGS} beside it"
            )
        return Source(read_file(beside), weights)
    return Source({"model_type": "nanogpt"} | dict(arguments), weights)


def _read_folder(path: Path) -> Source:
    if not (path / _SETTINGS).is_file():
        raise UserError(f"{path} holds no {_SETTINGS}")
    settings = read_file(path / _SETTINGS)
    if (path / _PICTURES).is_file():
        pictures = read_file(path / _PICTURES)
        settings |= {name: pictures[name] for name in ("image_mean", "image_std") if name in pictures}
    found = next((path / name for name in _FILES if (path / name).is_file()), None)
    if found is None:
        raise UserError(f"{path} holds no weights; allowed: {', '.join(_FILES)}")
    return Source(settings, _read_weights(found))


def _read_weights(path: Path) -> Weights:
    if path.suffix == ".json":
        parts = read_file(path).get("weight_map")
        if not isinstance(parts, Mapping):
            raise UserError(f"{path}: has no weight_map")
        names = sorted({str(name) for name in parts.values()})
        strange = [name for name in names if Path(name).name != name]
        if strange:
            raise UserError(f"{path}: {strange[0]} is not a file of the same folder")
        return {n: t for name in names for n, t in _read_weights(path.parent / name).items()}
    if path.suffix in _PICKLED:
        return read_pickled(path)[0]
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not a whole safetensors file: {error}") from error


def model_type(settings: Mapping[str, Any], known: list[str], source: Path) -> str:
    """What kind of model settings are of.

    Raises:
        UserError: they do not say, or there is no layout for it.
    """
    kind = settings.get("model_type")
    if not isinstance(kind, str):
        raise UserError(f"{source}: {_SETTINGS} names no model_type; allowed: {', '.join(known)}")
    if kind not in known:
        raise UserError(f"{source}: {unknown('model_type', kind, known)}")
    return kind


def dumped(data: Mapping[str, Any]) -> str:
    """JSON as it stands in a folder."""
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"
