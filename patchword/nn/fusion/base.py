"""What every fusion gives, and the maps to the trunk's width."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from patchword.config import FusionConfig, MappedFusionConfig
from patchword.sequence import SequenceInfo, Tokens


class Fused(NamedTuple):
    """What a trunk reads."""

    tokens: Tokens
    """The sequence it continues, [B, T, D]."""
    memory: Tokens | None = None
    """What it may look at beside, [B', S, D] with B' a divisor of B; None: nothing."""
    start: int = 0
    """Where the reader's own tokens begin in `tokens`."""
    kept: Tensor | None = None
    """What the reader's later tokens need of the others, [B', ...] with B' a divisor of B; None: nothing."""


class Fusion(nn.Module, ABC):
    """How towers meet. A kind is a subclass, found by the class of its settings (`implements`).

    A tower without input gives no tokens, a sample without it tokens that are not real: both must change nothing.

    Args:
        config: the kind's settings.
        dims: width of each tower, by name, in the order of `info.modality`.
        dim: width of the trunk (D).
    """

    def __init__(self, config: FusionConfig, dims: Mapping[str, int], dim: int) -> None:
        super().__init__()
        self.names, self.dim = list(dims), dim

    def marked(self, name: str, tokens: Tokens) -> Tokens:
        """A tower's tokens, each marked as its own; of their places only rows and columns are kept."""
        x, info = tokens
        modality = torch.full((1, 1), self.names.index(name), device=x.device).expand(1, x.shape[1])
        grid = info.pos if info.pos is not None and info.pos.ndim == 3 else None
        return Tokens(x, SequenceInfo(valid=info.valid, modality=modality, grid=grid))

    @abstractmethod
    def forward(self, parts: Mapping[str, Tokens]) -> Fused:
        """Tokens of every tower -> what the trunk reads.

        Raises:
            ValueError: towers whose numbers of rows do not go evenly.
        """


class Projectors(nn.ModuleDict):
    """Maps from towers' widths to the trunk's, for those that need one.

    Args:
        kind: linear, mlp, or None: linear where the widths differ.
        dims: width of each tower, by name.
        dim: width of the trunk (D).
    """

    def __init__(self, kind: str | None, dims: Mapping[str, int], dim: int) -> None:
        super().__init__()
        for name, width in dims.items():
            if kind == "mlp":
                self[name] = nn.Sequential(nn.Linear(width, dim), nn.GELU(), nn.Linear(dim, dim))
            elif kind == "linear" or width != dim:
                self[name] = nn.Linear(width, dim)

    def forward(self, name: str, x: Tensor) -> Tensor:
        """What is of a tower's width at the trunk's; [..., D'] -> [..., D]."""
        return self[name](x) if name in self else x


class MappedFusion(Fusion):
    """Maps towers to the trunk's width first.

    Args:
        config: how they are mapped, and the kind's own settings.
        dims: width of each tower, by name.
        dim: width of the trunk (D).
        keep: a tower that is not mapped, since the trunk continues it; None: all are.
        as_is: others that have the trunk's width and no map.
    """

    def __init__(
        self,
        config: MappedFusionConfig,
        dims: Mapping[str, int],
        dim: int,
        keep: str | None = None,
        as_is: Sequence[str] = (),
    ) -> None:
        super().__init__(config, dims, dim)
        self.mapped = [name for name in dims if name != keep]
        widths = {name: dims[name] for name in self.mapped if name not in as_is}
        self.projectors = Projectors(config.projector, widths, dim)

    def project(self, parts: Mapping[str, Tokens]) -> list[Tokens]:
        """The towers' tokens at the trunk's width, in the order of the configuration, each marked as its tower's."""
        made = []
        for name in self.mapped:
            x, info = parts[name]
            made.append(self.marked(name, Tokens(self.projectors(name, x), info)))
        return made


def rows_of(parts: Mapping[str, Tokens]) -> int:
    """Rows of the tower that has most: several texts of one sample share its picture."""
    return max(tokens.x.shape[0] for tokens in parts.values())


def spread(x: Tensor, rows: int) -> Tensor:
    """Each row as many times as there are rows for it, one after another; [B, ...] -> [rows, ...].

    Raises:
        ValueError: rows that do not go evenly.
    """
    batch = x.shape[0]  # not len(x): an exported program would be for that number alone
    if batch == rows:
        return x
    if not batch or rows % batch:
        raise ValueError(f"{rows} texts do not go evenly with {batch} samples")
    return x.repeat_interleave(rows // batch, 0)


def spread_tokens(tokens: Tokens, rows: int) -> Tokens:
    """The same for tokens and what is known of them; facts that are one row for all stay so."""
    batch = tokens.x.shape[0]
    facts = (f if f is None or (f.shape[0] == 1 and batch != 1) else spread(f, rows) for f in tokens.info)
    return Tokens(spread(tokens.x, rows), SequenceInfo(*facts))
