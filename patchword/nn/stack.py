"""Blocks of one shape, one after another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from patchword.cache import StackCache
from patchword.config import StackConfig, UserError
from patchword.nn.attention import View
from patchword.nn.block import Block
from patchword.nn.positions import ANYWHERE, Heads, Places
from patchword.sequence import Mask, SequenceInfo, Tokens, positions_of


class Stack(nn.Module):
    """Positions, blocks, a last norm; what all layers share (masks, angles) is made once.

    Args:
        config: its shape.
        places: where its tokens can stand, for positions that keep a table.
        memory_dim: width of the memory's tokens, where it looks at one; None: its own width. Several memories, each
            looked at through attention of its own: their widths by name.
    """

    def __init__(
        self, config: StackConfig, places: Places = ANYWHERE, memory_dim: int | Mapping[str, int] | None = None
    ) -> None:
        super().__init__()
        self.config = config
        own = config.attention
        heads = Heads(own.num_heads, own.width(config.dim), own.causal) if own is not None else Heads(1, config.dim)
        self.position = config.position.build(places, config.dim, heads)
        self.axes = places.axes
        self.blocks = nn.ModuleList(Block(config, i, memory_dim) for i in range(config.depth))
        for block in self.blocks:
            cast(Block, block).share(cast(Block, self.blocks[0]))
        self.entry_norm = config.norm.build(config.dim) if config.entry_norm else None
        self.norm = config.norm.build(config.dim) if config.final_norm and config.depth else None

    def forward(
        self, tokens: Tokens, memory: Tokens | Mapping[str, Tokens] | None = None, cache: StackCache | None = None
    ) -> Tensor:
        """Tokens [B, T, D], memory [B', S, memory_dim] with B' a divisor of B -> [B, T, D]."""
        own = self.view(tokens, cache)
        look = {n: look_at(m, own) for n, m in memory.items()} if isinstance(memory, Mapping) else look_at(memory, own)
        x = self.position.add(tokens.x, own.mask.queries)
        if self.entry_norm is not None:
            x = self.entry_norm(x)
        for i, block in enumerate(self.blocks):
            x = block(x, own, look, cache.blocks[i] if cache is not None else None)
        return x if self.norm is None else self.norm(x)

    def view(self, tokens: Tokens, cache: StackCache | None = None) -> View:
        """How tokens look at their own sequence; made once for all blocks."""
        x, info = tokens
        batch, length, device = x.shape[0], x.shape[1], x.device
        if cache is None:
            pos = info.pos
            if pos is None:
                pos = torch.arange(length, device=device)[None] if info.valid is None else positions_of(info.valid)
            info = info._replace(pos=pos)
            mask = Mask(info, info, length, length)
        else:
            extended = cache.extend(info, batch, length, device)
            mask = Mask(extended.queries, extended.keys, length, extended.end, extended.start)
        rotation = self.position.rotation(mask.queries, x.dtype)
        return View(mask, rotation, self.position.bias(mask.queries, mask.keys))

    def new_cache(self, batch: int, max_len: int, like: Tensor, static: bool = False) -> StackCache:
        """What decoding remembers, for up to `max_len` tokens a row.

        Raises:
            UserError: the mechanism cannot decode step by step.
        """
        attention = self.config.attention
        if attention is not None and self.config.depth:
            for refusal in attention.refusals({"cache"}):
                raise UserError(refusal)
            if not attention.causal:
                raise UserError("only a causal stack can decode step by step: set attention.causal")
        blocks = [
            block.new_cache(batch, max_len, like, static)  # pyright: ignore[reportCallIssue]
            for block in self.blocks
        ]
        return StackCache(blocks, batch, max_len, static, like.device, self.position.compares)


def look_at(memory: Tokens | None, own: View) -> View | None:
    """How tokens that see one another through `own` look at a memory; None: there is none."""
    if memory is None:
        return None
    info = SequenceInfo(valid=memory.info.valid)  # places and order say nothing between two sequences
    mask = Mask(SequenceInfo(), info, 1, memory.x.shape[1], own=own.mask)  # one row serves all, folded or not
    return View(mask, memory=memory.x)
