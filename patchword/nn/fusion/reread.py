"""One sequence of all towers, whose layers look again at what each tower gave."""

from __future__ import annotations

from collections.abc import Mapping

from patchword.config import RereadFusionConfig, implements
from patchword.nn.fusion.base import Fused
from patchword.nn.fusion.layered import LayeredFusion
from patchword.nn.stack import Stack
from patchword.sequence import Tokens, concat


@implements(RereadFusionConfig)
class RereadFusion(LayeredFusion):
    """One sequence of all, and what each tower gave as a memory of its own that every layer looks at again."""

    def __init__(self, config: RereadFusionConfig, dims: Mapping[str, int], dim: int) -> None:
        super().__init__(config, dims, dim)
        self.stack = Stack(config.layers.stack(dim), memory_dim=dict.fromkeys(self.names, dim))

    def forward(self, parts: Mapping[str, Tokens]) -> Fused:
        """Tokens of every tower -> one sequence."""
        towers = self.aligned(parts)
        tokens = concat(list(towers.values()))
        return Fused(Tokens(self.stack(tokens, towers), tokens.info))
