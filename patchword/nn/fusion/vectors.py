"""What fusions have in common that make one vector of all towers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from patchword.config import VectorFusionConfig
from patchword.nn.fusion.base import Fused, Fusion, rows_of, spread
from patchword.sequence import Tokens, real


class VectorFusion(Fusion):
    """Each tower is pooled to a vector; kinds say what is made of these. The trunk reads the result as one token."""

    def __init__(self, config: VectorFusionConfig, dims: Mapping[str, int], dim: int) -> None:
        super().__init__(config, dims, dim)
        self.pools = nn.ModuleDict({name: config.pool.build(width) for name, width in dims.items()})

    def forward(self, parts: Mapping[str, Tokens]) -> Fused:
        """Tokens of every tower -> one token, [B, 1, D]; several texts of one sample share its other vectors."""
        rows = rows_of(parts)
        vectors = [spread(pool(parts[name]), rows) for name, pool in self.pools.items()]
        there = torch.stack([spread(real(parts[name]).any(-1), rows) for name in self.names], 1)
        return Fused(Tokens(self.mix(vectors, there)[:, None]))

    @abstractmethod
    def mix(self, vectors: list[Tensor], there: Tensor) -> Tensor:
        """A vector of each tower, [B, D'], zero where it is absent -> one, [B, D].

        Args:
            vectors: in the order of the towers.
            there: which towers a row has; bool [B, M].
        """


def where_there(vectors: list[Tensor], there: Tensor) -> list[Tensor]:
    """Zeros for each tower that a row lacks: after a map, its offset would pass for a vector. [B, D] each -> same."""
    return [y * has[:, None].to(y.dtype) for y, has in zip(vectors, there.unbind(1), strict=True)]
