"""What every fusion gives, and the maps to the trunk's width."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import nn

from patchword.config import FusionConfig
from patchword.sequence import SequenceInfo, Tokens


class Fused(NamedTuple):
    """What a trunk reads."""

    tokens: Tokens
    """The sequence it continues, [B, T, D]."""
    memory: Tokens | None = None
    """What it may look at beside, [B, S, D]; None: nothing."""
    start: int = 0
    """Where the reader's own tokens begin in `tokens`."""


class Fusion(nn.Module, ABC):
    """Maps towers to the trunk's width; kinds say how the sequences are put together.

    Args:
        config: how the towers are mapped, and each kind's own settings.
        dims: width of each tower, by name.
        dim: width of the trunk (D).
        keep: a tower that is not mapped, since the trunk continues it; None: all are.
    """

    def __init__(self, config: FusionConfig, dims: Mapping[str, int], dim: int, keep: str | None = None) -> None:
        super().__init__()
        self.names = list(dims)
        self.mapped = [name for name in dims if name != keep]
        maps = {name: _projector(config.projector, dims[name], dim) for name in self.mapped}
        self.projectors = nn.ModuleDict({name: m for name, m in maps.items() if m is not None})

    def project(self, parts: Mapping[str, Tokens]) -> list[Tokens]:
        """The towers' tokens at the trunk's width, in the order of the configuration."""
        made = []
        for name in self.mapped:
            tokens = parts[name]
            x = self.projectors[name](tokens.x) if name in self.projectors else tokens.x
            made.append(self.marked(name, Tokens(x, tokens.info)))
        return made

    def marked(self, name: str, tokens: Tokens) -> Tokens:
        """A tower's tokens, each marked as its own; of their places only rows and columns are kept."""
        x, info = tokens
        modality = torch.full((1, 1), self.names.index(name), device=x.device).expand(x.shape[:2])
        grid = info.pos.expand(*x.shape[:2], -1) if info.pos is not None and info.pos.ndim == 3 else None
        return Tokens(x, SequenceInfo(valid=info.valid, modality=modality, grid=grid))

    @abstractmethod
    def forward(self, parts: Mapping[str, Tokens]) -> Fused:
        """Tokens of every tower -> what the trunk reads."""


def _projector(kind: str | None, width: int, dim: int) -> nn.Module | None:
    if kind == "mlp":
        return nn.Sequential(nn.Linear(width, dim), nn.GELU(), nn.Linear(dim, dim))
    return nn.Linear(width, dim) if kind == "linear" or width != dim else None
