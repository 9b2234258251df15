"""Attention among near keys only, found by hashing and sorting (Kitaev et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from patchword.cache import LayerCache
from patchword.config import ReformerAttentionConfig, implements
from patchword.nn.mechanisms.base import Mechanism
from patchword.nn.mechanisms.hashing import Documents, buckets, random_rotations
from patchword.nn.positions import Bias
from patchword.sequence import Mask

_SELF = -5e4
"""Score of a token with itself: less than any other, and a number in half precision too."""


class Sorted(NamedTuple):
    """One round of hashing: tokens in the order of their buckets."""

    at: Tensor
    """Which token stands at each place; int [B, H, T]."""
    bucket: Tensor
    """Its bucket, of all documents' buckets; int [B, H, T]."""
    order: Tensor | None
    """What it may see under a causal policy, where that is not its place; int [B, H, T]."""


@implements(ReformerAttentionConfig)
class ReformerAttention(Mechanism):
    """Shared queries and keys (keys at unit length); a token sees those that fall into its bucket, and are near in it.

    In each round a token sees the tokens of its bucket that are at most `bucket_size` places of that bucket away from
    it (before it, under a causal policy), and itself only where there is nothing else. Rounds are put together by the
    sums of their weights. What a token sees depends on no token that it may not see. Memory is linear in length.
    """

    rotations: Tensor

    def __init__(self, config: ReformerAttentionConfig, head_dim: int) -> None:
        super().__init__(config, head_dim)
        self.bucket_size, self.num_hashes = config.bucket_size, config.num_hashes
        rotations = random_rotations(config.seed, config.num_hashes, head_dim)
        self.register_buffer("rotations", rotations, persistent=False)

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Bias | None = None, cache: LayerCache | None = None
    ) -> Tensor:
        """q and k [B, H, T, E] (the same), v [B, G, T, E] -> [B, H, T, E]."""
        if q.shape[2] == 0:
            return (q + k.sum() + v.sum()) * 0.0
        documents: Documents = mask.once(
            ("reformer", self.bucket_size), lambda: Documents.of(mask, self.bucket_size, q.device)
        )
        q, k, v = (q * self.scale).contiguous(), F.normalize(k, dim=-1).contiguous(), v.contiguous()
        rounds = self.num_hashes if documents.most_bits else 1  # one bucket: all rounds would see the same
        seen = [self._round(q, k, v, self._sort(k.detach(), i, documents, mask)) for i in range(rounds)]
        out = seen[0][0]
        if rounds > 1:
            shares = torch.stack([mass for _, mass in seen]).softmax(0)
            out = sum(share * gathered for share, (gathered, _) in zip(shares, seen, strict=True))
            assert isinstance(out, Tensor)
        valid = mask.keys.valid
        return out if valid is None else out.masked_fill(~valid[:, None, :, None], 0.0)

    def _sort(self, k: Tensor, index: int, documents: Documents, mask: Mask) -> Sorted:
        """Tokens by document, then bucket, then order."""
        length = k.shape[2]
        bucket = buckets(k, self.rotations[:, index], documents)
        key, at = (bucket * length + documents.place[:, None]).sort(dim=-1)
        order = mask.queries.order if self.config.causal else None
        if order is not None:
            order = order[:, None].expand_as(at).gather(-1, at)
        return Sorted(at, key // length, order)

    def _round(self, q: Tensor, k: Tensor, v: Tensor, tokens: Sorted) -> tuple[Tensor, Tensor]:
        """What each token gathers, [B, H, T, E], and the logarithm of the sum of its weights, [B, H, T, 1]."""
        length, size = q.shape[2], min(self.bucket_size, q.shape[2])
        ahead = not self.config.causal or tokens.order is not None
        reach = (1, int(ahead)) if length > size else (0, 0)
        keys, values = (chunks(rows(x, tokens.at), size, *reach) for x in (k, v))
        hidden, itself = self._hidden(tokens, size, *reach)
        scores = chunks(rows(q, tokens.at), size) @ keys.mT
        scores = scores.masked_fill_(hidden, float("-inf")).masked_fill_(itself, _SELF)
        most = scores.detach().amax(-1, keepdim=True)
        weights = scores.sub_(most).exp_()  # one pass over what is largest; torch's logsumexp and a softmax make four
        total = weights.sum(-1, keepdim=True)
        out, mass = (weights @ values) / total, most + total.log()
        there = torch.arange(length, device=q.device).expand_as(tokens.at)
        back = torch.empty_like(tokens.at).scatter_(-1, tokens.at, there)
        return rows(out.flatten(2, 3), back), rows(mass.flatten(2, 3), back)

    def _hidden(self, tokens: Sorted, size: int, before: int, after: int) -> tuple[Tensor, Tensor]:
        """Keys that a token may not see, bool [B, H, C, m, w]; and where it meets itself, bool [m, w]."""
        device = tokens.at.device
        own = torch.arange(size, device=device)[:, None] + before * size
        apart = own - torch.arange((before + 1 + after) * size, device=device)
        hidden = apart.abs() > self.bucket_size
        if self.config.causal and tokens.order is None:  # in a bucket, places go by order
            hidden = hidden | (apart < 0)
        hidden = hidden | _compared(torch.ne, tokens.bucket, size, before, after)
        if tokens.order is not None:
            hidden = hidden | _compared(torch.lt, tokens.order, size, before, after)
        return hidden, apart == 0


def rows(x: Tensor, at: Tensor) -> Tensor:
    """The rows of each head in another order; x [B, G, T, E], at int [B, H, T'] -> [B, H, T', E]."""
    batch, groups, length, _ = x.shape
    heads = torch.arange(at.shape[1], device=at.device) // (at.shape[1] // groups)
    first = (torch.arange(batch, device=at.device)[:, None] * groups + heads) * length
    return x.flatten(0, 2).index_select(0, (first[..., None] + at).flatten()).view(*at.shape, x.shape[-1])


def chunks(x: Tensor, size: int, before: int = 0, after: int = 0, fill: int = 0) -> Tensor:
    """[B, H, T, E] -> [B, H, ceil(T / size), w, E]: each chunk with those around it; w = (before + 1 + after) size."""
    count = -(-x.shape[2] // size)
    x = F.pad(x, (0, 0, before * size, (count + after) * size - x.shape[2]), value=fill).unflatten(2, (-1, size))
    return torch.cat([x[:, :, i : i + count] for i in range(before + 1 + after)], 3)


def _compared(compare: Callable[[Tensor, Tensor], Tensor], fact: Tensor, size: int, before: int, after: int) -> Tensor:
    """A fact of each token of a chunk against that of all it might see; int [B, H, T] -> bool [B, H, C, m, w]."""
    own, keys = chunks(fact[..., None], size, fill=-1), chunks(fact[..., None], size, before, after, fill=-1)
    return compare(own, keys.mT)
