"""One block for every role: up to three residual steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import Tensor, nn

from patchword.cache import BlockCache, LayerCache, MemoryCache
from patchword.config import StackConfig
from patchword.nn.attention import Attention, View
from patchword.nn.residual import Residual
from patchword.nn.summed import SummedAttention


class Block(nn.Module):
    """Look at itself, look at a memory, think; steps that are not configured are not built.

        x ──► self_attn ──► cross_attn ──► ffn ──► y          each step, pre-norm:
                                                              x ─┬─► norm ─► f ─► (dropout, scale) ─► + ─►
                                                                 └────────────────────────────────────┘

    One class for all, so that compiling, checkpointing and sharding have one target.

    Args:
        config: the stack that it belongs to.
        index: its place in that stack.
        memory_dim: width of the memory's tokens; None: the stack's own. Several memories: their widths by name.
    """

    def __init__(self, config: StackConfig, index: int = 0, memory_dim: int | Mapping[str, int] | None = None) -> None:
        super().__init__()
        drop_path = config.residual.drop_path * index / max(config.depth - 1, 1)

        def residual(step: nn.Module) -> Residual:
            return Residual(config.residual, config.norm, config.dim, step, drop_path)

        own, cross, ffn = config.attention, config.cross_attention, config.ffn
        self.self_attn = residual(Attention(own, config.dim)) if own is not None else None
        looks = SummedAttention if isinstance(memory_dim, Mapping) else Attention
        self.cross_attn = (
            residual(looks(cross, config.dim, memory_dim or config.dim))  # pyright: ignore[reportArgumentType]
            if cross is not None
            else None
        )
        self.ffn = residual(ffn.build(config.dim)) if ffn is not None else None

    def share(self, first: Block) -> None:
        """Take over what all blocks of a stack have in common from the first."""
        for mine, theirs in ((self.self_attn, first.self_attn), (self.cross_attn, first.cross_attn)):
            if mine is not None and theirs is not None and mine is not theirs:
                cast(Attention, mine.step).share(cast(Attention, theirs.step))

    def forward(
        self,
        x: Tensor,
        own: View,
        memory: View | Mapping[str, View] | None = None,
        cache: BlockCache | None = None,
    ) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        if self.self_attn is not None:
            x = self.self_attn(x, own, cache.own if cache is not None else None)
        if self.cross_attn is not None:
            x = self.cross_attn(x, memory, cache.memory if cache is not None else None)
        if self.ffn is not None:
            x = self.ffn(x, own.mask.queries.modality)
        return x

    def new_cache(self, batch: int, max_len: int, like: Tensor, static: bool) -> BlockCache:
        """What decoding remembers of this block."""
        own, memory = (
            step.step.new_cache(batch, max_len, like, static) if step is not None else None  # pyright: ignore[reportCallIssue]
            for step in (self.self_attn, self.cross_attn)
        )
        assert memory is None or isinstance(memory, MemoryCache)
        assert own is None or not isinstance(own, MemoryCache)
        held: LayerCache | None = own
        return BlockCache(held, memory)
