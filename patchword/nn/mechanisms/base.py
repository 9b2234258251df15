"""What an attention mechanism is: the swap point between the projections and the arithmetic.

A new mechanism is a config (a subclass of `AttentionConfig` with a `kind`, its own fields, and what it `can` do) and a
class marked `@implements(ThatConfig)`. What it cannot do is refused when the configuration is read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor, nn

from patchword.cache import KeyValueCache, LayerCache
from patchword.config import AttentionConfig
from patchword.nn.positions import Bias
from patchword.sequence import Mask


class Mechanism(nn.Module, ABC):
    """q [B, H, T, E], k and v [B, G, S, E] -> [B, H, T, E]."""

    def __init__(self, config: AttentionConfig, head_dim: int) -> None:
        super().__init__()
        self.config, self.head_dim = config, head_dim
        self.num_heads, self.num_kv_heads = config.num_heads, config.num_kv_heads or config.num_heads
        self.scale = config.scale or head_dim**-0.5

    def new_cache(self, batch: int, max_len: int, like: Tensor, static: bool) -> LayerCache:
        """What this mechanism remembers of up to `max_len` tokens a row, on the device and in the dtype of `like`."""
        return KeyValueCache(batch, self.num_kv_heads, max_len, self.head_dim, like)

    def share(self, first: Self) -> None:
        """Take over what all layers of a stack have in common from its first layer."""

    def gathered(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Bias | None = None) -> Tensor:
        """What each query gathers before anything that is not a sum over values; as `forward` -> [B, H, T, E]."""
        return self(q, k, v, mask, bias)

    def weights(self, q: Tensor, k: Tensor, mask: Mask, bias: Bias | None = None) -> Tensor:
        """How much of each value each query takes, whatever the mechanism: [B, H, T, S]; nothing is dropped.

        Read off what is gathered of values that are one for a single key and zero for all others, E keys at a time.
        """
        length, width = k.shape[2], self.head_dim
        ones = torch.eye(length, -(-length // width) * width, dtype=q.dtype, device=q.device)
        training = self.training
        self.eval()
        try:
            parts = [
                self.gathered(q, k, one.expand(k.shape[0], self.num_kv_heads, -1, -1), mask, bias)
                for one in ones.split(width, 1)
            ]
        finally:
            self.train(training)
        return torch.cat([q.new_zeros(*q.shape[:3], 0), *parts], -1)[..., :length]

    def after_step(self) -> None:
        """What happens between two training steps; the trainer calls it after each, others who train must, too."""

    @abstractmethod
    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Bias | None = None, cache: LayerCache | None = None
    ) -> Tensor:
        """What each query gathers. With a cache, `k` and `v` are the new ones only, and `mask` speaks of all.

        Rows that may see nothing give zeros; no keys at all give zeros with every input still in the graph.

        Args:
            q: [B, H, T, E].
            k: [B, G, S, E]; [B, H, S, E] where queries are keys, too.
            v: [B, G, S, E].
            mask: who may see whom; together with `config.causal` and `config.window`.
            bias: what to add to the scaled scores; only for a mechanism that can do `bias`.
            cache: what `new_cache` made.
        """
