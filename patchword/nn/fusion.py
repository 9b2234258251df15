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
        """The other towers' tokens at the trunk's width, in the order of the configuration; only `valid` is kept."""
        mapped = []
        for name in self.others:
            x, info = parts[name]
            x = self.projectors[name](x) if name in self.projectors else x
            mapped.append(Tokens(x, SequenceInfo(valid=info.valid)))
        return mapped

    def beside(self, parts: Mapping[str, Tokens]) -> list[Tokens]:
        """The same, one row for each of the reader's: several texts of one sample repeat its other tokens."""
        rows = parts[self.reader].x.shape[0]
        return [_repeat(tokens, rows) for tokens in self.project(parts)]

    @abstractmethod
    def forward(self, parts: Mapping[str, Tokens]) -> Fused:
        """Tokens of every tower -> what the trunk reads."""


def _repeat(tokens: Tokens, rows: int) -> Tokens:
    batch, valid = tokens.x.shape[0], tokens.info.valid
    if batch == rows:
        return tokens
    if not batch or rows % batch:
        raise ValueError(f"{rows} texts do not go evenly with {batch} samples")
    times = rows // batch
    repeated = None if valid is None else valid.repeat_interleave(times, 0)
    return Tokens(tokens.x.repeat_interleave(times, 0), SequenceInfo(valid=repeated))


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
        memory = concat(others) if others else None
        return Fused(parts[self.reader], memory)


@implements(PrefixFusionConfig)
class PrefixFusion(Fusion):
    """The others' tokens before the reader's, all with one order: they see one another also in a causal trunk."""

    def forward(self, parts: Mapping[str, Tokens]) -> Fused:
        """Tokens of every tower -> one sequence."""
        others = self.beside(parts)
        length = sum(t.x.shape[1] for t in others)
        text = parts[self.reader]
        tokens = concat([*others, Tokens(text.x, SequenceInfo(valid=text.info.valid))])
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
        others, text = self.beside(parts), parts[self.reader]
        tokens = concat([*others, Tokens(text.x, SequenceInfo(valid=text.info.valid))])
        return Fused(tokens, None, sum(t.x.shape[1] for t in others))
