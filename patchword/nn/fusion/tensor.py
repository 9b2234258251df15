"""Products of the towers' vectors: of all their numbers, or of a few maps of them."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchword.config import LowRankFusionConfig, TensorFusionConfig, implements
from patchword.nn.fusion.vectors import VectorFusion, where_there


class _Product(VectorFusion):
    """Each vector gets a 1 before it: products of any of the towers, and of one alone, are then among the products."""

    def __init__(self, config: TensorFusionConfig | LowRankFusionConfig, dims: Mapping[str, int], dim: int) -> None:
        super().__init__(config, dims, dim)
        wanted = {name: config.width or width for name, width in dims.items()}
        self.widths = [1 + width for width in wanted.values()]
        maps = {name: nn.Linear(dims[name], width) for name, width in wanted.items() if config.width is not None}
        self.narrow = nn.ModuleDict(maps)

    def with_one(self, vectors: list[Tensor], there: Tensor) -> list[Tensor]:
        """[1; v] of each tower, [B, 1 + d]; of one that is absent [1; 0], by which nothing changes."""
        if self.narrow:
            vectors = [narrow(v) for narrow, v in zip(self.narrow.values(), vectors, strict=True)]
        return [F.pad(v, (1, 0), value=1.0) for v in where_there(vectors, there)]


@implements(TensorFusionConfig)
class TensorFusion(_Product):
    """out([1; v_1] x ... x [1; v_M]), x the outer product: (d_1 + 1) ... (d_M + 1) numbers (Zadeh et al. 2017)."""

    def __init__(self, config: TensorFusionConfig, dims: Mapping[str, int], dim: int) -> None:
        super().__init__(config, dims, dim)
        self.out_proj = nn.Linear(math.prod(self.widths), dim, bias=False)  # the product of all ones is its offset

    def mix(self, vectors: list[Tensor], there: Tensor) -> Tensor:
        """[B, D'] of each tower -> [B, D]."""
        return self.out_proj(self.product(vectors, there))

    def product(self, vectors: list[Tensor], there: Tensor) -> Tensor:
        """The outer product, the last tower's numbers next to one another; [B, (d_1 + 1) ... (d_M + 1)]."""
        parts = self.with_one(vectors, there)
        return functools.reduce(lambda a, b: (a[:, :, None] * b[:, None, :]).flatten(1), parts)


@implements(LowRankFusionConfig)
class LowRankFusion(_Product):
    """sum_r prod_m F_m^r [1; v_m]: tensor fusion whose map has a low rank, without the tensor (Liu et al. 2018).

    F_m^r are [D, d_m + 1], kept as rows: `factors` holds [R, d_m + 1, D] for each tower.
    """

    def __init__(self, config: LowRankFusionConfig, dims: Mapping[str, int], dim: int) -> None:
        super().__init__(config, dims, dim)
        self.factors = nn.ParameterDict(
            {name: torch.empty(config.rank, width, dim) for name, width in zip(dims, self.widths, strict=True)}
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Rows of the ones start at 1, so that the product of many towers neither fades nor explodes."""
        for factor in self.factors.values():
            nn.init.normal_(factor[:, 1:], std=(factor.shape[1] - 1) ** -0.5)
            nn.init.ones_(factor[:, :1])

    def mix(self, vectors: list[Tensor], there: Tensor) -> Tensor:
        """[B, D'] of each tower -> [B, D]."""
        parts = zip(self.names, self.with_one(vectors, there), strict=True)  # the dict of factors is sorted by name
        maps = [torch.einsum("bi,rid->brd", part, self.factors[name]) for name, part in parts]
        return functools.reduce(torch.mul, maps).sum(1)
