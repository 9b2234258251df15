"""A learned term on scores for each bucket of distances."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor, nn

from patchword.config import RelativeBiasPositionConfig, implements
from patchword.nn.positions.base import Constant, Heads, Places, Position, distances, in_graph
from patchword.sequence import SequenceInfo


def buckets(num_buckets: int, max_distance: int, two_sided: bool) -> Tensor:
    """The bucket of each distance -max_distance ... max_distance (key's place - query's); int [2 max_distance + 1].

    Half of the buckets of a side hold one distance each, the rest grow as a logarithm, and the last also holds all
    that is further away (Raffel et al. 2020). One-sided: keys behind the query, and those after it as distance 0.
    """
    apart = torch.arange(-max_distance, max_distance + 1)
    side = num_buckets // 2 if two_sided else num_buckets
    far = apart.abs() if two_sided else (-apart).clamp_min(0)
    exact = side // 2
    steps = torch.log(far.clamp_min(1).float() / exact) / math.log(max_distance / exact) * (side - exact)
    grown = (exact + steps.long()).clamp_max(side - 1)  # in float32 and cut off, as all programs since the first do
    found = torch.where(far < exact, far, grown)
    return found + (apart > 0) * side if two_sided else found


@implements(RelativeBiasPositionConfig)
class RelativeBiasPosition(Position):
    """bias[h, bucket(j - i)] on the score of query i and key j (Raffel et al. 2020, T5); axes of a grid add up.

    Two-sided where attention is not causal, and on a grid, where what comes before may stand on either side.
    """

    compares = True
    bucket: Tensor

    def __init__(self, config: RelativeBiasPositionConfig, places: Places, dim: int, heads: Heads) -> None:
        super().__init__(config, places, dim, heads)
        self.reach = config.max_distance
        two_sided = not heads.causal or places.axes > 1
        bucket = buckets(config.num_buckets, config.max_distance, two_sided)
        starts = config.num_buckets * torch.arange(places.axes)  # one table an axis, one after another
        self.register_buffer("bucket", (starts[:, None] + bucket).contiguous(), persistent=False)
        self.table = nn.Embedding(places.axes * config.num_buckets, heads.num)

    def add(self, x: Tensor, info: SequenceInfo) -> Tensor:
        """Nothing is added to tokens; [B, T, D] -> same."""
        return in_graph(x, self.table.weight)

    def bias(self, queries: SequenceInfo, keys: SequenceInfo) -> Constant:
        """The bucket's term; [B or 1, H, T, S]."""
        apart = distances(queries, keys).clamp(-self.reach, self.reach) + self.reach
        terms = self.table(self.bucket)  # [axes, distances, H]
        each = [terms[axis].t()[:, apart[..., axis]] for axis in range(apart.shape[-1])]  # [H, B or 1, T, S]
        return Constant(functools.reduce(torch.add, each).transpose(0, 1))
