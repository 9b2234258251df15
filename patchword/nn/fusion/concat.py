"""Two maps of the towers' vectors side by side."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchword.config import ConcatFusionConfig, implements
from patchword.nn.fusion.vectors import VectorFusion


@implements(ConcatFusionConfig)
class ConcatFusion(VectorFusion):
    """norm(down(gelu(up([v_1; ...; v_M])))); an absent tower's part is zero, as if the first map had no rows for it."""

    def __init__(self, config: ConcatFusionConfig, dims: Mapping[str, int], dim: int) -> None:
        super().__init__(config, dims, dim)
        hidden = config.hidden_dim or 2 * dim
        self.up_proj, self.down_proj = nn.Linear(sum(dims.values()), hidden), nn.Linear(hidden, dim)
        self.norm = config.norm.build(dim)

    def mix(self, vectors: list[Tensor], there: Tensor) -> Tensor:
        """[B, D'] of each tower -> [B, D]."""
        return self.norm(self.down_proj(F.gelu(self.up_proj(torch.cat(vectors, -1)))))
