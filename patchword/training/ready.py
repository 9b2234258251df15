"""Which parameters of a model are trained, and the adapters that learn in place of the others."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import cast

from torch import nn

from patchword.config import LoraConfig, TrainConfig, UserError, nearest
from patchword.nn.adapters import Adapter, adapter_of, attach, linear_maps
from patchword.training.optim import freeze, keep


def make_ready(model: nn.Module, config: TrainConfig) -> None:
    """Give a model its adapters and freeze what is not trained; a second time changes nothing.

    Raises:
        UserError: a pattern matches nothing that it could be for, or nothing is left to train.
    """
    if config.lora is not None:
        _adapt(model, config.lora)
    freeze(model, config.optimizer.freeze)


def _adapt(model: nn.Module, config: LoraConfig) -> None:
    maps = linear_maps(model)
    paths = list(dict.fromkeys(path for pattern in config.targets for path in _matches(pattern, maps, model)))
    for path in paths:
        linear = cast(nn.Linear, model.get_submodule(path))
        if adapter_of(linear) is None:
            attach(linear, Adapter(linear, config.rank, config.alpha / config.rank, config.dropout))
    adapters = [p for path in paths for p in cast(Adapter, adapter_of(model.get_submodule(path))).parameters()]
    keep(model, config.also, adapters, "train.lora.also")


def _matches(pattern: str, maps: dict[str, str | None], model: nn.Module) -> list[str]:
    """Paths of the linear maps that a pattern names.

    Raises:
        UserError: there are none, or one cannot have an adapter.
    """
    found = [path for path in maps if fnmatchcase(path, pattern)]
    where = f"train.lora.targets: {pattern!r}"
    if not found:
        others = [path for path, _ in model.named_modules() if path and fnmatchcase(path, pattern)]
        if others:
            raise UserError(f"{where} matches {others[0]}, which is no linear map; {_there_are(maps)}")
        last = pattern.rpartition(".")[2]
        guess = nearest(last, _names(maps))
        hint = f"did you mean {pattern.removesuffix(last) + guess!r}?" if guess and guess != last else _there_are(maps)
        raise UserError(f"{where} matches no linear map; {hint}")
    for path in found:
        if maps[path] is not None:
            raise UserError(f"{where} matches {path}, which {maps[path]} and can have no adapter")
    return found


def _there_are(maps: dict[str, str | None]) -> str:
    return f"there are *.{', *.'.join(_names(maps))}"


def _names(maps: Iterable[str]) -> list[str]:
    """The last part of each path, each once."""
    return list(dict.fromkeys(path.rpartition(".")[2] for path in maps))
