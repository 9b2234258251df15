"""Transforms that undo what single programs do: pixels in another order, added tables, learned queries with a map."""

from __future__ import annotations

import torch
from torch import Tensor

from patchword.models.convert.transforms import Tensors, Transform


class Patches(Transform):
    """A patch map as a convolution, [D, C, height, width], to a matrix over (channel, row, column).

    Args:
        channels: colour channels (C).
        patch_size: height and width of a patch.
    """

    def __init__(self, channels: int, patch_size: tuple[int, int]) -> None:
        self.shape = (channels, *patch_size)

    def to(self, *theirs: Tensor) -> Tensors:
        """[D, C, height, width] -> [D, C * height * width]."""
        return (theirs[0].flatten(1),)

    def back(self, *ours: Tensor) -> Tensors:
        """[D, C * height * width] -> [D, C, height, width]."""
        return (ours[0].unflatten(1, self.shape),)


class ChannelsLast(Patches):
    """A patch map, or a norm before it, over (row, column, channel) to one over (channel, row, column)."""

    def to(self, *theirs: Tensor) -> Tensors:
        """[..., height * width * C] -> [..., C * height * width]."""
        channels, *patch = self.shape
        return (theirs[0].unflatten(-1, (*patch, channels)).movedim(-1, -3).flatten(-3),)

    def back(self, *ours: Tensor) -> Tensors:
        """[..., C * height * width] -> [..., height * width * C]."""
        return (ours[0].unflatten(-1, self.shape).movedim(-3, -1).flatten(-3),)


class Added(Transform):
    """A table, plus the first row of a second one that every token gets.

    Args:
        rows: of the second table; on the way back they are zero.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def to(self, *theirs: Tensor) -> Tensors:
        """[n, D] and [rows, D] -> [n, D]."""
        table, second = theirs
        return (table + second[0],)

    def back(self, *ours: Tensor) -> Tensors:
        """[n, D] -> the same, and zeros [rows, D]."""
        return ours[0], ours[0].new_zeros(self.rows, ours[0].shape[1])


class Asked(Transform):
    """A learned query and the packed maps of attention: the query as its map makes it, and maps of keys and values.

    On the way back the query's map is the identity: the query as a map made it is the same to the bit.
    """

    def to(self, *theirs: Tensor) -> Tensors:
        """[1, Q, D], [3 D, D] and [3 D] -> [Q, D], twice [D, D], twice [D]."""
        probe, weight, bias = theirs
        (query, key, value), offsets = weight.chunk(3), bias.chunk(3)
        return probe[0] @ query.mT + offsets[0], key, value, offsets[1], offsets[2]

    def back(self, *ours: Tensor) -> Tensors:
        """[Q, D], twice [D, D], twice [D] -> [1, Q, D], [3 D, D] and [3 D]."""
        queries, key, value, key_offset, value_offset = ours
        same = torch.eye(len(key), dtype=key.dtype, device=key.device)
        offsets = torch.cat((torch.zeros_like(key_offset), key_offset, value_offset))
        return queries[None], torch.cat((same, key, value)), offsets


class Chosen(Transform):
    """A row of scores for each token, which chooses it as a vector that is one at its own place and zero elsewhere."""

    invertible = False

    def to(self, *theirs: Tensor) -> Tensors:
        """[V, V'] -> those vectors [V, V], and the map from them to scores [V', V]."""
        table = theirs[0]
        return torch.eye(len(table), dtype=table.dtype, device=table.device), table.mT


class FromOne(Transform):
    """Gains of norms, which Gemma keeps as what they are more than one."""

    def to(self, *theirs: Tensor) -> Tensors:
        """Plus one."""
        return tuple(t + 1 for t in theirs)

    def back(self, *ours: Tensor) -> Tensors:
        """Minus one."""
        return tuple(t - 1 for t in ours)
