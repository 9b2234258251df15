"""Attention whose scores are products of features, phi(q) . phi(k): sums over keys replace scores, n^2 becomes n.

Katharopoulos et al. 2020, Transformers are RNNs. What phi is, each kind says.
"""

from __future__ import annotations

from abc import abstractmethod
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor

from patchword.cache import LayerCache
from patchword.config import AttentionConfig
from patchword.nn.mechanisms.base import Mechanism
from patchword.nn.mechanisms.ordering import Ordering, order_tokens
from patchword.nn.mechanisms.passes import total
from patchword.nn.mechanisms.sums import SumCache, read, read_in_chunks
from patchword.nn.positions import Bias
from patchword.sequence import Mask


class KernelAttention(Mechanism):
    """sum_j w_ij v_j / (sum_j w_ij + eps), w_ij = phi(q_i) . phi(k_j), over the keys j that query i may see.

    Args:
        config: its settings.
        head_dim: E.
        num_features: F.
        chunk: tokens whose causal sums are taken together.
        eps: added to the divisor, which may otherwise be 0 where something is seen.
    """

    def __init__(self, config: AttentionConfig, head_dim: int, num_features: int, chunk: int, eps: float = 0.0) -> None:
        super().__init__(config, head_dim)
        self.num_features, self.chunk, self.eps = num_features, chunk, eps

    def new_cache(self, batch: int, max_len: int, like: Tensor, static: bool) -> SumCache:
        """Sums, which are no longer for more tokens."""
        return SumCache(batch, self.num_kv_heads, self.num_features, self.head_dim, like)

    @abstractmethod
    def features(self, q: Tensor, k: Tensor, seen: Tensor | None, cache: SumCache | None) -> tuple[Tensor, Tensor]:
        """phi of queries and of keys, each up to a factor that is the same in all scores of a query.

        Args:
            q: [B, H, T, E].
            k: [B, G, S, E].
            seen: bool [B or 1, 1, S, 1], False where a key is padding; None: all are real.
            cache: where earlier keys are.

        Returns:
            [B, H, T, F] and [B, G, S, F], new tensors of their own.
        """

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Bias | None = None, cache: LayerCache | None = None
    ) -> Tensor:
        """q [B, H, T, E], k and v [B, G, S, E] -> [B, H, T, E]; features and sums are in float32 or wider.

        Raises:
            ValueError: with a cache, a token would come before or beside one that was there earlier.
        """
        assert cache is None or isinstance(cache, SumCache)
        wide = torch.promote_types(q.dtype, torch.float32)
        with _as_it_is(q):
            return self._gather(q.to(wide), k.to(wide), v.to(wide), mask, cache).to(q.dtype)

    def _gather(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, cache: SumCache | None) -> Tensor:
        way = self._way(mask, v)
        valid = mask.keys.valid if cache is None else mask.queries.valid
        seen = None if valid is None else valid[:, None, :, None]
        q, k = self.features(q, k, seen, cache)
        if way is None:
            return read(q, total(k if seen is None else k.masked_fill(~seen, 0.0), v), self.eps)
        v = F.pad(v, (0, 1), value=1.0)
        if seen is not None:
            v = v.masked_fill(~seen, 0.0)
        if cache is not None and q.shape[2] == 1:
            cache.add(k, v)
            return read(q, cache.sums, self.eps)
        before = None if cache is None else cache.sums
        out = way.back(read_in_chunks(way.there(q), way.there(k), way.there(v), before, way.chunks, self.eps))
        if cache is not None:
            cache.add(k, v)
        return out

    def _way(self, mask: Mask, like: Tensor) -> Ordering | None:
        """How tokens are passed, made once for all layers of a stack; None: all keys are seen by all."""
        causal = self.config.causal
        if not causal and mask.queries.segment is None:
            return None
        key = ("ordering", causal, self.chunk, like.dtype)
        return mask.once(key, lambda: order_tokens(mask, causal, self.chunk, like))


def _as_it_is(x: Tensor) -> AbstractContextManager[object]:
    """Sums keep their precision under autocast."""
    kind = x.device.type
    on = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.autocast(kind, enabled=False) if on else nullcontext()
