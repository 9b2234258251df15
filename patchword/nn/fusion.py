"""How the towers' tokens meet: {name: tokens} -> what the trunk reads, and what it may look up."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import nn

from patchword.config import CrossFusionConfig, FusionConfig, JointFusionConfig, PrefixFusionConfig, implements
from patchword.sequence import SequenceInfo, Tokens, concat


class Fused(NamedTuple):
    """What a trunk reads."""

    tokens: Tokens
    """The sequence it continues, [B, T, D]."""
    memory: Tokens | None = None
    """What it may look at beside, [B, S, D]; None: nothing."""
    start: int = 0
    """Where the reader's own tokens begin in `tokens`."""


class Fusion(nn.Module, ABC):
    """Maps each other tower to the trunk's width; kinds say how the sequences are put together.

    Args:
        config: which tower reads, and how the others are mapped.
        dims: width of each tower, by name.
        dim: width of the trunk (D).
    """

    def __init__(self, config: FusionConfig, dims: Mapping[str, int], dim: int) -> None:
        super().__init__()
        self.reader = config.reader
        self.others = [name for name in dims if name != config.reader]
        maps = {name: _projector(config.projector, dims[name], dim) for name in self.others}
        self.projectors = nn.ModuleDict({name: m for name, m in maps.items() if m is not None})

    def project(self, parts: Mapping[str, Tokens]) -> list[Tokens]:
        """The other towers' tokens at the trunk's width, in the order of the configuration."""
        mapped = []
        for name in self.others:
            x, info = parts[name]
            mapped.append(Tokens(self.projectors[name](x) if name in self.projectors else x, info))
        return mapped

    @abstractmethod
    def forward(self, parts: Mapping[str, Tokens]) -> Fused:
        """Tokens of every tower -> what the trunk reads."""


def _projector(kind: str | None, width: int, dim: int) -> nn.Module | None:
    if kind == "mlp":
        return nn.Sequential(nn.Linear(width, dim), nn.GELU(), nn.Linear(dim, dim))
    return nn.Linear(width, dim) if kind == "linear" or width != dim else None


@implements(CrossFusionConfig)
class CrossFusion(Fusion):
    """The trunk continues the reader's tokens and looks at all others as one memory."""

    def forward(self, parts: Mapping[str, Tokens]) -> Fused:
        """Tokens of every tower -> the reader's, with a memory."""
        others = self.project(parts)
        memory = concat([Tokens(t.x, SequenceInfo(valid=t.info.valid)) for t in others]) if others else None
        return Fused(parts[self.reader], memory)


@implements(PrefixFusionConfig)
class PrefixFusion(Fusion):
    """The others' tokens before the reader's, all with one order: they see one another also in a causal trunk."""

    def forward(self, parts: Mapping[str, Tokens]) -> Fused:
        """Tokens of every tower -> one sequence."""
        others = self.project(parts)
        length = sum(t.x.shape[1] for t in others)
        text = parts[self.reader]
        prefix = [Tokens(t.x, SequenceInfo(valid=t.info.valid)) for t in others]
        tokens = concat([*prefix, Tokens(text.x, SequenceInfo(valid=text.info.valid))])
        if length:
            places = torch.arange(tokens.x.shape[1], device=tokens.x.device)
            order = torch.where(places < length, length - 1, places).expand(tokens.x.shape[0], -1)
            tokens = Tokens(tokens.x, tokens.info._replace(order=order))
        return Fused(tokens, None, length)


@implements(JointFusionConfig)
class JointFusion(Fusion):
    """All tokens in one sequence, the reader's last; a causal trunk reads the others one by one, too."""

    def forward(self, parts: Mapping[str, Tokens]) -> Fused:
        """Tokens of every tower -> one sequence."""
        others = self.project(parts)
        own = [*others, parts[self.reader]]
        tokens = concat([Tokens(t.x, SequenceInfo(valid=t.info.valid)) for t in own])
        return Fused(tokens, None, sum(t.x.shape[1] for t in others))
