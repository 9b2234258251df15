"""How weights start, by name. An initialiser is a function of one weight; `initialise` walks a module."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, cast

from torch import Tensor, nn

from patchword.config import (
    InitConfig,
    NormalInitConfig,
    TorchInitConfig,
    TruncatedNormalInitConfig,
    XavierInitConfig,
    implements,
)
from patchword.nn.positions.learned import LearnedPosition
from patchword.nn.stack import Stack

_ENDS = ("out_proj", "down_proj")  # maps whose output is added to the residual stream


class Initialiser(ABC):
    """Sets one weight matrix in place."""

    depth_scaled = False

    def __init__(self, config: InitConfig) -> None:
        self.config = config

    @abstractmethod
    def weight(self, w: Tensor, shrink: float) -> None:
        """Set `w`, times `shrink`."""


@implements(NormalInitConfig)
class NormalInit(Initialiser):
    """Normal weights (GPT-2, BERT)."""

    def __init__(self, config: NormalInitConfig) -> None:
        super().__init__(config)
        self.std, self.depth_scaled = config.std, config.depth_scaled

    def weight(self, w: Tensor, shrink: float) -> None:
        """Normal with mean 0."""
        nn.init.normal_(w, std=self.std * shrink)


@implements(TruncatedNormalInitConfig)
class TruncatedNormalInit(Initialiser):
    """Normal weights cut at two standard deviations (ViT)."""

    def __init__(self, config: TruncatedNormalInitConfig) -> None:
        super().__init__(config)
        self.std = config.std

    def weight(self, w: Tensor, shrink: float) -> None:
        """Normal with mean 0, cut."""
        std = self.std * shrink
        nn.init.trunc_normal_(w, std=std, a=-2 * std, b=2 * std)


@implements(XavierInitConfig)
class XavierInit(Initialiser):
    """Glorot and Bengio 2010, uniform."""

    def __init__(self, config: XavierInitConfig) -> None:
        super().__init__(config)
        self.gain = config.gain

    def weight(self, w: Tensor, shrink: float) -> None:
        """Uniform with variance 2 / (fan in + fan out)."""
        nn.init.xavier_uniform_(w, gain=self.gain * shrink)


@implements(TorchInitConfig)
class TorchInit(Initialiser):
    """What torch's layers did when they were made."""

    def weight(self, w: Tensor, shrink: float) -> None:
        """Nothing."""


def initialise(model: nn.Module, config: InitConfig, embed_std: float | None) -> None:
    """Set every linear map and embedding table of `model` in place; norms and single vectors keep their own start."""
    init = config.build()
    shrinks = _depth_shrinks(model) if init.depth_scaled else {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            init.weight(module.weight, shrinks.get(name, 1.0))
            if module.bias is not None and not isinstance(init, TorchInit):
                nn.init.zeros_(module.bias)
    for module in model.modules():  # last: a tied table starts as an embedding, not as the head's map
        if isinstance(module, nn.Embedding):
            if embed_std is not None:
                nn.init.normal_(module.weight, std=embed_std)
            else:
                init.weight(module.weight, 1.0)
    for module in model.modules():
        if isinstance(module, LearnedPosition):
            cast(Any, module).start()


def _depth_shrinks(model: nn.Module) -> dict[str, float]:
    """1 / sqrt(residual steps of the stack) for each map that ends one (Radford et al. 2019)."""
    shrinks = {}
    for stack_name, stack in model.named_modules():
        if not isinstance(stack, Stack):
            continue
        ends = [n for n, _ in stack.named_modules(prefix=stack_name) if n.rpartition(".")[2] in _ENDS]
        shrinks |= {name: len(ends) ** -0.5 for name in ends}
    return shrinks
