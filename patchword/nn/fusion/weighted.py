"""A weighted sum of the towers' vectors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from patchword.config import WeightedFusionConfig, implements
from patchword.nn.fusion.base import Projectors
from patchword.nn.fusion.vectors import VectorFusion, where_there


@implements(WeightedFusionConfig)
class WeightedFusion(VectorFusion):
    """norm(sum_m w_m v_m), w = softmax over the towers that a row has: those absent have no weight."""

    def __init__(self, config: WeightedFusionConfig, dims: Mapping[str, int], dim: int) -> None:
        super().__init__(config, dims, dim)
        self.projectors = Projectors(config.projector, dims, dim)
        self.scores = nn.Parameter(torch.empty(len(dims)))
        self.norm = config.norm.build(dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Equal weights."""
        nn.init.ones_(self.scores)

    def mix(self, vectors: list[Tensor], there: Tensor) -> Tensor:
        """[B, D'] of each tower -> [B, D]."""
        wide = [self.projectors(name, v) for name, v in zip(self.names, vectors, strict=True)]
        return self.norm((torch.stack(where_there(wide, there), 1) * self.weights(there)[..., None]).sum(1))

    def weights(self, there: Tensor) -> Tensor:
        """How much each tower counts in each row; bool [B, M] -> [B, M], 1 in all over those that are there."""
        none = ~there.any(-1, keepdim=True)
        scores = self.scores.expand(there.shape).masked_fill(~(there | none), float("-inf"))
        return scores.softmax(-1) * there.to(scores.dtype)
