"""A learned key for each distance."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, nn

from patchword.config import RelativeKeyPositionConfig, implements
from patchword.nn.positions.base import Bias, Heads, Places, Position, distances, in_graph
from patchword.sequence import SequenceInfo


@implements(RelativeKeyPositionConfig)
class RelativeKeyPosition(Position):
    """q . a[clip(j - i)] on the score of query i and key j (Shaw et al. 2018), one table for all heads.

    Without the paper's second table, for values, which its own ablation found to gain nothing. Axes of a grid have a
    table each and add up.
    """

    compares = True

    def __init__(self, config: RelativeKeyPositionConfig, places: Places, dim: int, heads: Heads) -> None:
        super().__init__(config, places, dim, heads)
        self.reach = config.max_distance
        self.keys = nn.Embedding(places.axes * (2 * self.reach + 1), heads.dim)

    def add(self, x: Tensor, info: SequenceInfo) -> Tensor:
        """Nothing is added to tokens; [B, T, D] -> same."""
        return in_graph(x, self.keys.weight)

    def bias(self, queries: SequenceInfo, keys: SequenceInfo) -> Bias:
        """Queries meet the table, then each score finds its distance: never a T x S x E tensor."""
        width = 2 * self.reach + 1
        apart = distances(queries, keys).clamp(-self.reach, self.reach) + self.reach  # [B or 1, T, S, axes]
        index = (apart + width * torch.arange(apart.shape[-1], device=apart.device))[:, None]

        def term(q: Tensor) -> Tensor:
            met = q @ self.keys.weight.to(q.dtype).t()  # [B, H, T, axes x (2 reach + 1)]
            spread = (*q.shape[:3], index.shape[3])
            each = [met.gather(-1, index[..., axis].expand(spread)) for axis in range(index.shape[-1])]
            return functools.reduce(torch.add, each)

        return term
