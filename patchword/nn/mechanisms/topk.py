"""Softmax over the best keys of each query (Gupta et al. 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from patchword.cache import KeyValueCache, LayerCache
from patchword.config import TopKAttentionConfig, implements
from patchword.nn.mechanisms.base import Mechanism
from patchword.nn.positions import Bias
from patchword.sequence import Lowered, Mask

_ROOM = 1 << 22
"""Scores that are held at once: 16 MiB in float32."""


@implements(TopKAttentionConfig)
class TopKAttention(Mechanism):
    """Exact attention with all but the k largest scores of each query left out.

    Keys whose score ties with the k-th largest are kept too, so no key is preferred for its place. Queries are taken
    in chunks, and each chunk is computed again in the backward pass: the scores of all are never there at once.
    """

    def __init__(self, config: TopKAttentionConfig, head_dim: int) -> None:
        super().__init__(config, head_dim)
        self.k = config.k

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Bias | None = None, cache: LayerCache | None = None
    ) -> Tensor:
        """q [B, H, T, E], k and v [B, G, S, E] -> [B, H, T, E]."""
        if cache is not None:
            assert isinstance(cache, KeyValueCache)
            k, v = cache.write(k, v, mask.start)
        if k.shape[2] == 0 or q.shape[2] == 0:
            return (q + k.sum() + v.sum()) * 0.0
        q = q * self.scale
        lowered = mask.lower(self.config.causal, self.config.window, q.device)
        added = None if bias is None else bias(q)
        rows = max(1, _ROOM // max(1, q.shape[0] * q.shape[1] * k.shape[2]))
        if rows >= q.shape[2]:
            return self._gather(q, k, v, lowered, added, 0)
        again = torch.is_grad_enabled()
        parts = []
        for start in range(0, q.shape[2], rows):
            part = (q[:, :, start : start + rows], k, v, lowered, _rows(added, start, rows), start)
            parts.append(checkpoint(self._gather, *part, use_reentrant=False) if again else self._gather(*part))
        return torch.cat(parts, 2)

    def _gather(self, q: Tensor, k: Tensor, v: Tensor, lowered: Lowered, added: Tensor | None, start: int) -> Tensor:
        """What the queries from place `start` on gather; scaled q [B, H, t, E] -> same."""
        length = q.shape[2]
        if lowered.causal:  # later keys need not be looked at
            k, v, added = k[:, :, : start + length], v[:, :, : start + length], _keys(added, start + length)
        groups = k.shape[1]
        scores = (q.unflatten(1, (groups, -1)).flatten(2, 3) @ k.mT).view(*q.shape[:3], k.shape[2])
        if added is not None:
            scores = scores + added
        hidden = _hidden(lowered, start, scores)
        if hidden is not None:
            scores = scores.masked_fill(hidden, float("-inf"))
        if self.k < k.shape[2]:
            least = scores.detach().topk(self.k, -1, sorted=False).values.amin(-1, keepdim=True)
            scores = scores.masked_fill(scores < least, float("-inf"))
        weights = F.dropout(scores.softmax(-1), self.config.dropout, self.training)
        out = (weights.unflatten(1, (groups, -1)).flatten(2, 3) @ v).view(q.shape)
        empty = _rows(lowered.empty, start, length)
        return out if empty is None else out.masked_fill(empty, 0.0)


def _rows(x: Tensor | None, start: int, count: int) -> Tensor | None:
    """The part of [..., T, S] that is about these queries; one row stands for all."""
    return x if x is None or x.shape[2] == 1 else x[:, :, start : start + count]


def _keys(x: Tensor | None, count: int) -> Tensor | None:
    return None if x is None else x[..., :count]


def _hidden(lowered: Lowered, start: int, scores: Tensor) -> Tensor | None:
    """What these queries may not see; bool, broadcastable to scores [B, H, t, S]."""
    if lowered.causal:
        length, keys = scores.shape[2:]
        return torch.ones(length, keys, dtype=torch.bool, device=scores.device).triu(start + 1)
    see = _rows(lowered.see, start, scores.shape[2])
    return None if see is None else ~see
