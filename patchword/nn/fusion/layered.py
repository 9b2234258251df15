"""What fusions have in common in which tokens of all towers meet in layers of the fusion's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import Tensor, nn

from patchword.config import LayeredFusionConfig
from patchword.nn.block import Block
from patchword.nn.fusion.base import Fused, MappedFusion, rows_of, spread_tokens
from patchword.nn.stack import Stack
from patchword.sequence import Tokens, concat


class LayeredFusion(MappedFusion):
    """The trunk reads what the layers make of each tower's tokens, one tower after another."""

    def aligned(self, parts: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """The towers' tokens at the trunk's width, as many rows of each: texts of one sample repeat the rest."""
        rows = rows_of(parts)
        return {name: spread_tokens(tokens, rows) for name, tokens in zip(self.names, self.project(parts), strict=True)}


class StreamsFusion(LayeredFusion):
    """Each tower has layers of its own, which run side by side.

    Args:
        config: the layers, and the kind's own settings.
        dims: width of each tower, by name.
        dim: width of the trunk (D).
        looks: whether each tower's layers look at the tokens of all others.
    """

    def __init__(self, config: LayeredFusionConfig, dims: Mapping[str, int], dim: int, looks: bool) -> None:
        super().__init__(config, dims, dim)
        shape = config.layers.stack(dim)
        others = {name: dict.fromkeys((n for n in dims if n != name), dim) for name in dims}
        self.streams = nn.ModuleDict({name: Stack(shape, memory_dim=others[name] if looks else None) for name in dims})
        self.depth = shape.depth

    def stream(self, name: str) -> Stack:
        """A tower's layers."""
        return cast(Stack, self.streams[name])

    def layer(self, name: str, index: int) -> Block:
        """One of them."""
        return cast(Block, self.stream(name).blocks[index])

    def joined(self, x: Mapping[str, Tensor], towers: Mapping[str, Tokens]) -> Fused:
        """The towers' tokens, through the last norm of their layers, one tower after another."""
        made = []
        for name, y in x.items():
            norm = self.stream(name).norm
            made.append(Tokens(y if norm is None else norm(y), towers[name].info))
        return Fused(concat(made))
