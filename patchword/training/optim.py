"""Groups of parameters for an optimizer: which decay, how fast each learns, which are frozen."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from patchword.config import AnyOptimizerConfig, UserError, nearest
from patchword.nn import Block
from patchword.training import optimizers

_MAPS = (nn.Linear, nn.Bilinear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def freeze(model: nn.Module, patterns: Iterable[str]) -> None:
    """Parameters whose path matches one of the patterns are not trained; a tied one matches by any of its names.

    Raises:
        UserError: a pattern matches nothing, or everything is frozen.
    """
    names = _names(model)
    patterns = tuple(patterns)
    _check(patterns, "train.optimizer.freeze", names)
    for parameter, aliases in names.items():
        if any(fnmatchcase(alias, pattern) for alias in aliases for pattern in patterns):
            parameter.requires_grad_(False)
    if not any(p.requires_grad for p in names):
        raise UserError("train.optimizer.freeze: nothing is left to train")


def keep(model: nn.Module, patterns: Iterable[str], others: Iterable[nn.Parameter], field: str) -> None:
    """Only parameters whose path matches one of the patterns are trained, and the others given.

    Raises:
        UserError: a pattern matches nothing.
    """
    names, patterns = _names(model), tuple(patterns)
    _check(patterns, field, names)
    always = {id(p) for p in others}
    for parameter, aliases in names.items():
        matched = any(fnmatchcase(alias, pattern) for alias in aliases for pattern in patterns)
        parameter.requires_grad_(matched or id(parameter) in always)


def build_optimizer(model: nn.Module, config: AnyOptimizerConfig) -> torch.optim.Optimizer:
    """The optimizer of these settings over the parameters that are not frozen.

    `config.decays` says what decays; of maps, one that is tied to an embedding or position table is a table. Each group
    has its factor on the learning rate under "rate", and whether it is matrices of maps within blocks under "inner".

    Raises:
        UserError: a pattern of `config.rates` matches nothing.
    """
    names = _names(model)
    _check(config.rates, "train.optimizer.rates", names)
    decaying, inner = _decaying(model, config.decays), _inner(model)
    groups: dict[tuple[float, float, bool], list[nn.Parameter]] = {}
    for parameter, aliases in names.items():
        if not parameter.requires_grad:
            continue
        rate = 1.0
        for pattern, factor in config.rates.items():
            if any(fnmatchcase(alias, pattern) for alias in aliases):
                rate = factor
        decay = config.weight_decay if id(parameter) in decaying else 0.0
        groups.setdefault((rate, decay, id(parameter) in inner), []).append(parameter)
    found: list[optimizers.Group] = [
        {"params": group, "rate": rate, "weight_decay": decay, "inner": within}
        for (rate, decay, within), group in groups.items()
    ]
    return config.build(found)


def set_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """The learning rate of the next step, before each group's own factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["rate"]


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as `quantity:parameter name`, for a checkpoint."""
    return {
        f"{key}:{name}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`, into an optimizer over the same parameters."""
    parameters = dict(model.named_parameters())
    for name, value in tensors.items():
        key, _, path = name.partition(":")
        parameter = parameters[path]
        optimizer.state[parameter][key] = value.to(parameter.device)


def _names(model: nn.Module) -> dict[nn.Parameter, list[str]]:
    """Each parameter with all of its names."""
    names: dict[nn.Parameter, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(name)
    return names


def _decaying(model: nn.Module, decays: str) -> set[int]:
    if decays == "all":
        return {id(p) for p in model.parameters()}
    if decays == "matrices":
        return {id(p) for p in model.parameters() if p.ndim > 1}
    return _maps(model)


def _maps(model: nn.Module) -> set[int]:
    """Weights of linear maps and convolutions that are no table."""
    maps = {id(m.weight) for m in model.modules() if isinstance(m, _MAPS)}
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)}
    return maps - tables


def _inner(model: nn.Module) -> set[int]:
    """Those of them that are matrices within blocks."""
    maps = _maps(model)
    blocks = [m for m in model.modules() if isinstance(m, Block)]
    return {id(p) for block in blocks for p in block.parameters() if p.ndim == 2 and id(p) in maps}


def _check(patterns: Iterable[str], field: str, names: dict[nn.Parameter, list[str]]) -> None:
    every = [alias for aliases in names.values() for alias in aliases]
    wrong = []
    for pattern in patterns:
        if any(fnmatchcase(alias, pattern) for alias in every):
            continue
        plain = pattern.rstrip("*").rstrip(".")
        parts = {".".join(alias.split(".")[:n]) for alias in every for n in range(1, alias.count(".") + 2)}
        guess = nearest(plain, sorted(parts))
        if guess is not None:
            guess = guess if guess in every else f"{guess}.*"
        hint = f"did you mean {guess!r}?" if guess else f"there are {', '.join(_tops(every))}"
        wrong.append(f"{field}: {pattern!r} matches no parameter; {hint}")
    if wrong:
        raise UserError("\n".join(wrong))


def _tops(every: list[str]) -> list[str]:
    """The first two levels of all paths, as patterns."""
    return sorted({".".join(alias.split(".")[:2]) + (".*" if alias.count(".") > 1 else "") for alias in every})
