"""Low-rank adapters: a linear map W learns as W + scale * up @ down while W itself stays (Hu et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchword.nn.heads import LanguageHead
from patchword.nn.mechanisms.linear import LinearAttention

_NAME = "lora"
_READ: tuple[tuple[type[nn.Module], str], ...] = (
    (LanguageHead, "proj"),
    (LinearAttention, "q_map"),
    (LinearAttention, "k_map"),
)
"""Linear maps whose weights others read without calling the map, and whose adapter would therefore do nothing."""


class Adapter(nn.Module):
    """What is added to the result of a linear map.

    Args:
        linear: the map, in -> out.
        rank: width of the bottleneck.
        scale: factor on what is added.
        dropout: share of the input that is zeroed in training.
    """

    def __init__(self, linear: nn.Linear, rank: int, scale: float, dropout: float) -> None:
        super().__init__()
        like: dict[str, Any] = {"device": linear.weight.device, "dtype": linear.weight.dtype}
        self.down = nn.Linear(linear.in_features, rank, bias=False, **like)
        self.up = nn.Linear(rank, linear.out_features, bias=False, **like)
        self.scale, self.dropout = scale, dropout
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """`down` normal, of variance 1 / in; `up` zero, so that nothing changes at first."""
        nn.init.normal_(self.down.weight, std=self.down.in_features**-0.5)
        nn.init.zeros_(self.up.weight)

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        if self.training and self.dropout:
            x = F.dropout(x, self.dropout)
        return self.up(self.down(x)) * self.scale

    def product(self) -> Tensor:
        """What it adds to the weight, [out, in]."""
        return (self.up.weight @ self.down.weight) * self.scale


def adapter_of(linear: nn.Module) -> Adapter | None:
    """A map's adapter; None: it has none."""
    found = getattr(linear, _NAME, None)
    return found if isinstance(found, Adapter) else None


def attach(linear: nn.Linear, adapter: Adapter) -> None:
    """Give a map an adapter; it is a part of the map's, named `lora`."""
    linear.add_module(_NAME, adapter)
    linear.register_forward_hook(_add)


def _detach(linear: nn.Linear) -> None:
    delattr(linear, _NAME)
    for key in [key for key, hook in linear._forward_hooks.items() if hook is _add]:
        del linear._forward_hooks[key]


def _add(linear: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
    adapter = adapter_of(linear)
    assert adapter is not None
    return out + adapter(args[0])


def linear_maps(model: nn.Module) -> dict[str, str | None]:
    """Every linear map of a model by path, and why it can have no adapter; None: it can."""
    users: dict[int, int] = {}
    for _, parameter in model.named_parameters(remove_duplicate=False):
        users[id(parameter)] = users.get(id(parameter), 0) + 1
    read = {id(getattr(m, name)) for m in model.modules() for kind, name in _READ if isinstance(m, kind)}
    inside = {id(part) for m in model.modules() if isinstance(m, Adapter) for part in m.modules()}
    found: dict[str, str | None] = {}
    for path, module in model.named_modules():
        if not isinstance(module, nn.Linear) or id(module) in inside:
            continue
        tied = "shares its weight with another part" if users[id(module.weight)] > 1 else None
        found[path] = tied or ("has a weight that is read as a table" if id(module) in read else None)
    return found


@contextmanager
def merged(model: nn.Module) -> Iterator[None]:
    """Inside, adapters are part of the weights and the model is an ordinary one; then all is as before, bit for bit."""
    adapted = [(m, a, m.weight.data) for m in model.modules() if isinstance(m, nn.Linear) and (a := adapter_of(m))]
    for linear, adapter, weight in adapted:
        _detach(linear)
        with torch.no_grad():
            linear.weight.data = weight + adapter.product()
    try:
        yield
    finally:
        for linear, adapter, weight in adapted:
            linear.weight.data = weight
            attach(linear, adapter)
