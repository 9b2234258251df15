"""One look at several memories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from patchword.config import AttentionConfig
from patchword.nn.attention import Attention, View


class SummedAttention(nn.Module):
    """Tokens look at several memories, each through attention of its own, and add up what they find.

    Args:
        config: the mechanism and what all mechanisms share; one for each memory.
        dim: width of the tokens that look (D).
        memory_dims: width of each memory's tokens, by name.
    """

    def __init__(self, config: AttentionConfig, dim: int, memory_dims: Mapping[str, int]) -> None:
        super().__init__()
        self.of = nn.ModuleDict({name: Attention(config, dim, width) for name, width in memory_dims.items()})

    def share(self, first: SummedAttention) -> None:
        """Take over what all layers of a stack have in common from the first's."""
        for name, attention in self.of.items():
            cast(Attention, attention).share(cast(Attention, first.of[name]))

    def forward(self, x: Tensor, views: Mapping[str, View], cache: None = None) -> Tensor:
        """[B, T, D] -> [B, T, D]; a memory of which a row has no token adds nothing, not even an offset."""
        found = [attention(x, views[name]) * _there(views[name], x) for name, attention in self.of.items()]
        return torch.stack(found).sum(0)


def _there(view: View, x: Tensor) -> Tensor:
    """1 where a row of x has any of a memory's tokens, else 0; [B or 1, 1, 1]."""
    assert view.memory is not None
    rows, length = view.memory.shape[:2]
    valid = view.mask.keys.valid
    if valid is None:
        return x.new_full((1, 1, 1), float(length > 0))
    return valid.any(-1).repeat_interleave(x.shape[0] // max(rows, 1), 0)[:, None, None].to(x.dtype)
