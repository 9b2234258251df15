"""Towers that look at one another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from patchword.config import CoAttentionFusionConfig, implements
from patchword.nn.attention import View
from patchword.nn.fusion.base import Fused
from patchword.nn.fusion.layered import StreamsFusion
from patchword.nn.residual import Residual
from patchword.nn.stack import look_at
from patchword.sequence import Tokens


@implements(CoAttentionFusionConfig)
class CoAttentionFusion(StreamsFusion):
    """Each tower's tokens look at themselves, then at those of all others, and think (Lu et al. 2019, ViLBERT).

    What the others show is their state before the layer, through the norm by which they look themselves: all towers
    take a step at the same time, so their order has no meaning.
    """

    def __init__(self, config: CoAttentionFusionConfig, dims: Mapping[str, int], dim: int) -> None:
        super().__init__(config, dims, dim, looks=True)

    def forward(self, parts: Mapping[str, Tokens]) -> Fused:
        """Tokens of every tower -> one sequence, in the order of the towers."""
        towers = self.aligned(parts)
        own = {name: self.stream(name).view(tokens) for name, tokens in towers.items()}
        looks = {
            name: {other: cast(View, look_at(towers[other], own[name])) for other in towers if other != name}
            for name in towers
        }
        x = {name: tokens.x for name, tokens in towers.items()}
        for i in range(self.depth):
            layer = {name: self.layer(name, i) for name in towers}
            shown = {name: cast(Residual, layer[name].cross_attn).given(y) for name, y in x.items()}
            x = {
                name: layer[name](y, own[name], {o: v._replace(memory=shown[o]) for o, v in looks[name].items()})
                for name, y in x.items()
            }
        return self.joined(x, towers)
