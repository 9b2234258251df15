"""A penalty on scores that grows with distance."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from patchword.config import ALiBiPositionConfig, implements
from patchword.nn.positions.base import Constant, Heads, Places, Position, distances
from patchword.sequence import SequenceInfo


def slopes(num_heads: int, device: torch.device | None = None) -> Tensor:
    """How steep each head is; [H].

    2 ** (-8/n), 2 ** (-16/n) ... for a power of two n (Press et al. 2022); other numbers of heads take those of the
    next smaller power of two, then every second of those of twice that, as in the authors' program.
    """
    power = 2 ** int(math.log2(num_heads))
    own = torch.arange(1, power + 1, device=device, dtype=torch.float32)
    more = torch.arange(num_heads - power, device=device, dtype=torch.float32) + 0.5
    return 2.0 ** (-8 / power * torch.cat([own, more]))


@implements(ALiBiPositionConfig)
class ALiBiPosition(Position):
    """-slope[h] |j - i| on the score of query i and key j (Press et al. 2022); axes of a grid add up."""

    compares = True

    def __init__(self, config: ALiBiPositionConfig, places: Places, dim: int, heads: Heads) -> None:
        super().__init__(config, places, dim, heads)
        self.num_heads = heads.num

    def bias(self, queries: SequenceInfo, keys: SequenceInfo) -> Constant:
        """The penalty; [B or 1, H, T, S]."""
        apart = distances(queries, keys).abs().sum(-1)[:, None]
        return Constant(-apart * slopes(self.num_heads, apart.device)[:, None, None])
