"""Towers and trunks whose weights start as those of another model: a run's, or what `patchword convert` wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from patchword.config import Config, ModelConfig, StackConfig, TextTowerConfig, UserError, unknown
from patchword.models.folder import model_folder, read_model, settings_of
from patchword.models.model import Model
from patchword.nn.positions.learned import LearnedPosition

TRUNK = "trunk"
_SHOWN = 3
_SIZES = ("vocab_size", "min_rows", "max_len", "image_size", "depth")
_FREE = ("init_from", "shares", *_SIZES, "dropout", "drop_path", "embed_dropout")
"""Settings that say nothing of what a weight means, or that shapes tell."""


class Start(NamedTuple):
    """Where a part of a model starts."""

    field: str
    """The setting that says so, for messages."""
    folder: Path
    """Holds the other model."""
    part: str
    """Its part: a tower's name or `trunk`."""


def starts_of(config: ModelConfig) -> dict[str, Start]:
    """The parts that start from another model, by name.

    Raises:
        UserError: a folder holds no model, or its model has no such part.
    """
    found = {}
    for name, part in _parts(config).items():
        if part.init_from is None:
            continue
        field = f"model.{name}.init_from"
        path, _, other = part.init_from.partition("#")
        folder = model_folder(path)
        if folder is None:
            raise UserError(
                f"{field}: {path} holds no model (a finished run, or a folder that patchword convert wrote)"
            )
        there = _parts(settings_of(folder)[0])
        if (other or name) not in there:
            hint = "" if other else f"; name another as {path}#PART"
            raise UserError(f"{field}: {path}: {unknown('part', other or name, there)}{hint}")
        found[name] = Start(field, folder, other or name)
    return found


def start_from(model: Model) -> list[str]:
    """Give a new model's parts the weights that their settings name; returns what a person should know of it.

    Raises:
        UserError: a folder holds no such part, or weights are lacking there or have other shapes.
    """
    others: dict[Path, Model] = {}
    notes = []
    for name, start in starts_of(model.config).items():
        if start.folder not in others:
            with torch.random.fork_rng([]):  # to be read into, it is made with weights of its own
                others[start.folder] = read_model(start.folder, {})
        other = others[start.folder]
        own, theirs = _parts(model.config)[name], _parts(other.config)[start.part]
        left = _copy(_module(model, name), _module(other, start.part), start, _owned_elsewhere(own))
        notes += _notes(start, left, list(_differences(theirs, own)))
    return notes


def _parts(config: ModelConfig) -> dict[str, StackConfig]:
    return {**config.towers, **({TRUNK: config.trunk} if config.trunk is not None else {})}


def _module(model: Model, part: str) -> nn.Module:
    return cast(nn.Module, model.trunk) if part == TRUNK else model.towers[part]


def _owned_elsewhere(part: StackConfig) -> set[str]:
    """Weights of a part that are another's."""
    return {"embedding.table.weight"} if isinstance(part, TextTowerConfig) and part.shares is not None else set()


def _copy(own: nn.Module, other: nn.Module, start: Start, skip: set[str]) -> list[str]:
    """Copy all weights of a part; returns the names of those that have no place in it."""
    theirs, mine = other.state_dict(), own.state_dict()
    wrong = []
    found: dict[str, Tensor] = {}
    for name, weight in mine.items():
        if name in skip:
            continue
        there = theirs.get(name)
        if there is not None and there.shape != weight.shape:
            there = _fitted(own, other, name)
        if there is None:
            shapes = f"{list(theirs[name].shape)} there, {list(weight.shape)} here" if name in theirs else "not there"
            wrong.append(f"{name}: {shapes}")
        else:
            found[name] = there
    if wrong:
        more = f"\n  and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        lines = "\n  ".join(wrong[:_SHOWN])
        raise UserError(f"{start.field}: {start.part} of {start.folder} does not fit:\n  {lines}{more}")
    with torch.no_grad():
        for name, weight in found.items():
            mine[name].copy_(weight)
    return [name for name in theirs if name not in mine]


def _fitted(own: nn.Module, other: nn.Module, name: str) -> Tensor | None:
    """A table of a picture's places, resized; None: the weight is something else."""
    path = name.removesuffix(".table.weight")
    modules = dict(own.named_modules()).get(path), dict(other.named_modules()).get(path)
    if all(isinstance(module, LearnedPosition) for module in modules):
        mine, theirs = cast(tuple[LearnedPosition, LearnedPosition], modules)
        return mine.resized_from(theirs)
    return None


def _notes(start: Start, left: list[str], differences: list[str]) -> Iterator[str]:
    if left:
        more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
        yield f"{start.field}: left in {start.folder}: {', '.join(left[:_SHOWN])}{more}"
    if differences:
        yield f"{start.field}: the weights come from a part with other settings: {', '.join(differences)}"


def _differences(theirs: Config, own: Config) -> Iterator[str]:
    before, now = dict(_flat(theirs.to_dict())), dict(_flat(own.to_dict()))
    for path in sorted(before.keys() & now.keys()):
        if path.rpartition(".")[2] not in _FREE and before[path] != now[path]:
            yield f"{path} {before[path]!r} there, {now[path]!r} here"


def _flat(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
