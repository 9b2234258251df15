"""A sum of the towers' vectors, each through a gate."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from patchword.config import GatedFusionConfig, implements
from patchword.nn.fusion.base import Projectors
from patchword.nn.fusion.vectors import VectorFusion, where_there


@implements(GatedFusionConfig)
class GatedFusion(VectorFusion):
    """norm(out(sum_m sigmoid(gate_m([v_1; ...; v_M])) v_m)); an absent tower is zero in all (Arevalo et al. 2017)."""

    def __init__(self, config: GatedFusionConfig, dims: Mapping[str, int], dim: int) -> None:
        super().__init__(config, dims, dim)
        self.projectors = Projectors(config.projector, dims, dim)
        self.gates = nn.ModuleDict({name: nn.Linear(len(dims) * dim, dim) for name in dims})
        self.out_proj = nn.Linear(dim, dim)
        self.norm = config.norm.build(dim)

    def mix(self, vectors: list[Tensor], there: Tensor) -> Tensor:
        """[B, D'] of each tower -> [B, D]."""
        wide = where_there([self.projectors(name, v) for name, v in zip(self.names, vectors, strict=True)], there)
        everything = torch.cat(wide, -1)
        open_part = [gate(everything).sigmoid() * v for gate, v in zip(self.gates.values(), wide, strict=True)]
        return self.norm(self.out_proj(torch.stack(open_part).sum(0)))
