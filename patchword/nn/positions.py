"""How a token knows where it stands. Three hooks, each kind fills what it needs.

Built with what only its surroundings know: `config.build(places, dim, heads)`. Places are `info.pos`, int
[B, T], or [B, T, 2] (row, column) for pictures; special tokens stand at -1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from patchword.config import (
    LearnedPositionConfig,
    NoPositionConfig,
    PositionConfig,
    RotaryPositionConfig,
    SinusoidalPositionConfig,
    UserError,
    implements,
)
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


Bias = Callable[[Tensor], Tensor]
"""Scaled queries [B, H, T, E] to what is added to their scores, [B or 1, H or 1, T, S]; made once for all layers."""


class Rotation(NamedTuple):
    """Angles by which queries and keys are turned; float [B or 1, 1, T, E / 2] each."""

    cos: Tensor
    sin: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Turn pairs (x_i, x_{i + E/2}); [B, heads, T, E] -> same. Lengths stay as they are."""
        a, b = x.chunk(2, -1)
        return torch.cat([a * self.cos - b * self.sin, b * self.cos + a * self.sin], -1)


@implements(NoPositionConfig)
class Position(nn.Module):
    """No positions, and the hooks that other kinds fill.

    Args:
        config: its settings.
        places: where tokens can stand.
        dim: width of a token (D).
        heads: those of the attention that it serves.
    """

    compares: ClassVar[bool] = False
    """Whether `bias` needs to know where each key stands (a cache then keeps it)."""

    def __init__(self, config: PositionConfig, places: Places, dim: int, heads: Heads) -> None:
        super().__init__()

    def add(self, x: Tensor, info: SequenceInfo) -> Tensor:
        """Tokens with their places added; [B, T, D] -> same."""
        return x

    def rotation(self, info: SequenceInfo, dtype: torch.dtype) -> Rotation | None:
        """How queries and keys at these places are turned; None: they are not."""
        return None

    def bias(self, queries: SequenceInfo, keys: SequenceInfo) -> Bias | None:
        """What is added to the scores between these places; None: nothing."""
        return None


def places_of(info: SequenceInfo) -> Tensor:
    """`pos`, which a stack has filled in; int [B or 1, T] or [B or 1, T, 2]."""
    assert info.pos is not None
    return info.pos


@implements(LearnedPositionConfig)
class LearnedPosition(Position):
    """One learned vector a place; row-major over a grid, the special token's first."""

    def __init__(self, config: LearnedPositionConfig, places: Places, dim: int, heads: Heads) -> None:
        super().__init__(config, places, dim, heads)
        self.extent: tuple[int, ...] = (config.max_len,) if config.max_len and places.axes == 1 else places.extent
        if not self.extent:
            raise UserError("learned positions need a number of places: set position.max_len")
        if config.max_len and places.axes > 1:
            raise UserError("position.max_len is for text; a picture's places follow from image_size and patch_size")
        self.special = int(places.special)
        count = 1
        for side in self.extent:
            count *= side
        self.table = nn.Embedding(count + self.special, dim)

    def add(self, x: Tensor, info: SequenceInfo) -> Tensor:
        """Tokens with their places' vectors added; [B, T, D] -> same.

        Raises:
            UserError: a token stands outside the table.
        """
        pos = places_of(info)
        index = pos if pos.ndim == 2 else pos[..., 0] * self.extent[1] + pos[..., 1]
        self._check(pos)
        if pos.ndim == 3:
            index = torch.where(pos[..., 0] < 0, -1, index)
        return x + self.table(index + self.special)

    def _check(self, pos: Tensor) -> None:
        if torch.compiler.is_compiling() or pos.device.type != "cpu" or not pos.numel():
            return
        sides = (pos if pos.ndim == 3 else pos[..., None]).flatten(0, -2)
        most = sides.amax(0).tolist()
        if any(m >= e for m, e in zip(most, self.extent, strict=True)):
            asked, has = " x ".join(str(m + 1) for m in most), " x ".join(map(str, self.extent))
            raise UserError(
                f"learned positions were made for {has} places, {asked} are needed: "
                "shorten the input, enlarge the table, or choose sinusoidal or rotary positions"
            )


def angles(pos: Tensor, width: int, theta: float, dtype: torch.dtype) -> Tensor:
    """pos * theta ** (-2i / width), i < width / 2, in float32 or wider; [B, T] or [B, T, A] -> [B, T, A, width / 2]."""
    wide = torch.promote_types(dtype, torch.float32)  # half precision cannot tell far places apart
    waves = theta ** (-torch.arange(0, width, 2, device=pos.device, dtype=wide) / width)
    return (pos if pos.ndim == 3 else pos[..., None]).to(wide)[..., None] * waves


@implements(SinusoidalPositionConfig)
class SinusoidalPosition(Position):
    """Sines in the first half, cosines in the second, of each axis' share of the width (Vaswani et al. 2017)."""

    def __init__(self, config: SinusoidalPositionConfig, places: Places, dim: int, heads: Heads) -> None:
        super().__init__(config, places, dim, heads)
        if dim % (2 * places.axes):
            raise UserError(f"sinusoidal positions: dim {dim} is not divisible by {2 * places.axes} (pairs x axes)")
        self.theta, self.width = config.theta, dim // places.axes

    def add(self, x: Tensor, info: SequenceInfo) -> Tensor:
        """Tokens with the waves of their places added; [B, T, D] -> same."""
        angle = angles(places_of(info), self.width, self.theta, x.dtype)
        return x + torch.cat([angle.sin(), angle.cos()], -1).flatten(-2).to(x.dtype)


@implements(RotaryPositionConfig)
class RotaryPosition(Position):
    """Queries and keys turned by their place (Su et al. 2021); with two axes, half of the pairs each."""

    def __init__(self, config: RotaryPositionConfig, places: Places, dim: int, heads: Heads) -> None:
        super().__init__(config, places, dim, heads)
        if heads.dim % (2 * places.axes):
            raise UserError(
                f"rotary positions: head_dim {heads.dim} is not divisible by {2 * places.axes} (pairs x axes)"
            )
        self.theta, self.width = config.theta, heads.dim // places.axes

    def rotation(self, info: SequenceInfo, dtype: torch.dtype) -> Rotation:
        """Angles in float32, then in `dtype`; int [B, T] or [B, T, 2] -> [B, 1, T, E / 2]."""
        angle = angles(places_of(info), self.width, self.theta, dtype).flatten(-2)[:, None]
        return Rotation(angle.cos().to(dtype), angle.sin().to(dtype))
