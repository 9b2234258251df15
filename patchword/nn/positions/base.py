"""How a token knows where it stands. Three hooks, each kind fills what it needs.

Built with what only its surroundings know: `config.build(places, dim, heads)`. Places are `info.pos`, int
[B, T], or [B, T, 2] (row, column) for pictures; special tokens stand at -1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from patchword.config import NoPositionConfig, PositionConfig, implements
from patchword.sequence import SequenceInfo


class Places(NamedTuple):
    """Where tokens of a stack can stand."""

    extent: tuple[int, ...] = ()
    """Number of places along each axis: (max_len,) for text, (rows, columns) for pictures; (): not known."""
    axes: int = 1
    """1, or 2 for pictures."""
    special: bool = False
    """Whether a special token stands at -1."""
    parts: Mapping[str, Places] = MappingProxyType({})
    """Those of each modality of a joint sequence, by the tower's name, in the order of `info.modality`."""


ANYWHERE = Places()


class Heads(NamedTuple):
    """The query heads that positions serve."""

    num: int
    """How many (H)."""
    dim: int
    """Their width (E)."""
    causal: bool = False
    """Whether they see nothing after themselves."""


Turn = Callable[[Tensor], Tensor]
"""Queries or keys [B, heads, T, E] to the same, turned by where they stand; made once for all layers."""

Bias = Callable[[Tensor], Tensor]
"""Scaled queries [B, H, T, E] to what is added to their scores, [B or 1, H or 1, T, S]; made once for all layers."""


class Rotation(NamedTuple):
    """Angles by which queries and keys are turned; float [B or 1, 1, T, R / 2] each, R the width that is turned."""

    cos: Tensor
    sin: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Turn pairs (x_i, x_{i + R/2}), leave the rest; [B, heads, T, E] -> same."""
        half = self.cos.shape[-1]
        a, b, rest = x.split((half, half, x.shape[-1] - 2 * half), -1)
        return torch.cat([a * self.cos - b * self.sin, b * self.cos + a * self.sin, rest], -1)


class Constant:
    """A bias that is the same whatever the queries: made once, also in the type of number of the scores.

    Args:
        values: what is added to scores; [B or 1, H or 1, T, S].
    """

    def __init__(self, values: Tensor) -> None:
        self.values = values

    def __call__(self, q: Tensor) -> Tensor:
        """[B, H, T, E] -> [B or 1, H or 1, T, S]."""
        self.values = self.values.to(q.dtype)
        return self.values


@implements(NoPositionConfig)
class Position(nn.Module):
    """No positions, and the hooks that other kinds fill.

    Args:
        config: its settings.
        places: where tokens can stand.
        dim: width of a token (D).
        heads: those of the attention that it serves.
    """

    compares: bool = False
    """Whether `bias` needs to know where each key stands (a cache then keeps it)."""

    def __init__(self, config: PositionConfig, places: Places, dim: int, heads: Heads) -> None:
        super().__init__()

    def add(self, x: Tensor, info: SequenceInfo) -> Tensor:
        """Tokens with their places added; [B, T, D] -> same."""
        return x

    def rotation(self, info: SequenceInfo, dtype: torch.dtype) -> Turn | None:
        """How queries and keys at these places are turned; None: they are not."""
        return None

    def bias(self, queries: SequenceInfo, keys: SequenceInfo) -> Bias | None:
        """What is added to the scores between these places; None: nothing."""
        return None


def places_of(info: SequenceInfo) -> Tensor:
    """`pos`, which a stack has filled in; int [B or 1, T] or [B or 1, T, 2]."""
    assert info.pos is not None
    return info.pos


def distances(queries: SequenceInfo, keys: SequenceInfo) -> Tensor:
    """How far each key stands after each query along each axis; int [B or 1, T, S, axes]."""
    own, others = (pos if pos.ndim == 3 else pos[..., None] for pos in (places_of(queries), places_of(keys)))
    return others[:, None] - own[:, :, None]


def in_graph(x: Tensor, weight: Tensor) -> Tensor:
    """`x`, with `weight` behind it where there are no tokens: layers then compare nothing, but ranks must reduce."""
    return x if x.numel() else x + weight.sum() * 0.0
