"""What queries gather from sums over keys: the arithmetic of mechanisms whose score is a product of features.

B batch, T queries, S keys, H heads, G key/value heads, R = H / G, F features, E head width, N chunks of C tokens.
Values of width E + 1 have a last column of ones, so that one product gives weighted values and the sum of the weights.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from patchword.nn.mechanisms import passes

LOWEST = -1e30
"""Stands for log 0 where -inf would make NaN of a difference."""


class Side(NamedTuple):
    """How sums are carried from chunk to chunk, in the order in which chunks are passed."""

    adds: Tensor
    """[B or 1, 1, N, C, 1], 1 where a key of this chunk is still seen from the next chunk, else 0."""
    keeps: Tensor
    """[B or 1, 1, N, 1, 1], 1 where all that was carried to this chunk is seen from the next one, too, else 0."""
    reads: Tensor
    """[B or 1, 1, N, C, 1], 1 where a query of this chunk sees what was carried to it, else 0."""


class Chunks(NamedTuple):
    """Who sees whom when tokens are passed chunk by chunk."""

    num: int
    """N."""
    len: int
    """C; the last chunk may be longer than what is left of the tokens."""
    see: Tensor
    """[B or 1, 1, N or 1, C, C], 1 where a query sees a key of its own chunk, else 0."""
    past: Side | None = None
    """None: every query sees all chunks before its own."""
    future: Side | None = None
    """Chunks passed from the last to the first; None: no query sees a later chunk."""


def split(length: int, chunk: int) -> tuple[int, int]:
    """Number and length of chunks of at most `chunk` tokens, as equal as can be."""
    num = max(-(-length // chunk), 1)
    return num, max(-(-length // num), 1)


def read(queries: Tensor, sums: Tensor, eps: float) -> Tensor:
    """What queries gather of sums; features [B, H, T, F] and [B, G, F, E + 1] -> [B, H, T, E]."""
    groups, length = sums.shape[1], queries.shape[2]
    times = queries.shape[1] // groups
    out = passes.read(queries.unflatten(1, (groups, times)).flatten(2, 3), sums, eps)
    return out.unflatten(2, (times, length)).flatten(1, 2)


def read_in_chunks(
    queries: Tensor, keys: Tensor, values: Tensor, before: Tensor | None, chunks: Chunks, eps: float
) -> Tensor:
    """What queries gather of the keys that they may see, with sums at the borders of chunks only.

    Within a chunk, scores are computed pair by pair: 2 T C (F + E) + 4 T F E operations and T (F / C + 1) E numbers of
    memory a head, where sums at each token would take T F E.

    Args:
        queries: features, [B, H, T, F].
        keys: features, [B, G, T, F].
        values: [B, G, T, E + 1].
        before: sums over keys before the first that all queries see, [B, G, F, E + 1]; None: there are none.
        chunks: who sees whom.
        eps: added to the sum of the weights.

    Returns:
        [B, H, T, E].
    """
    length, groups = queries.shape[2], keys.shape[1]
    times = queries.shape[1] // groups
    k, v = _cut(keys, chunks), _cut(values, chunks)
    q = _cut(queries, chunks).unflatten(1, (groups, times)).transpose(2, 3).flatten(3, 4)  # [B, G, N, R C, F]
    scores = (q @ k.mT).mul_(chunks.see.repeat(1, 1, 1, times, 1))
    out = scores @ v
    if chunks.past is not None:
        out += _carried(q, k, v, before, chunks.past)
    elif chunks.num > 1 or before is not None:
        out += q @ passes.carry(k.mT @ v, before, None)
    if chunks.future is not None:
        q, k, v = q.flip(2), k.flip(2), v.flip(2)
        out += _carried(q, k, v, None, chunks.future).flip(2)
    out = passes.divided(out, eps).unflatten(3, (times, chunks.len))
    return out.transpose(2, 3).flatten(3, 4).flatten(1, 2)[:, :, :length]


def _cut(x: Tensor, chunks: Chunks) -> Tensor:
    missing = chunks.num * chunks.len - x.shape[2]
    return (F.pad(x, (0, 0, 0, missing)) if missing else x.contiguous()).unflatten(2, (chunks.num, chunks.len))


def _carried(q: Tensor, k: Tensor, v: Tensor, start: Tensor | None, side: Side) -> Tensor:
    """What queries gather of the chunks on one side of their own; [B, G, N, R C, E + 1]."""
    sums = passes.carry(k.mT @ (v * side.adds), start, side.keeps)
    return (q @ sums) * side.reads.repeat(1, 1, 1, q.shape[3] // side.reads.shape[3], 1)


class SumCache:
    """Sums over all tokens so far: a step costs the same however many there were. Growing and static are one.

    Args:
        batch: rows.
        num_kv_heads: G.
        num_features: F.
        head_dim: E.
        like: on its device, and in float32 or wider.
    """

    def __init__(self, batch: int, num_kv_heads: int, num_features: int, head_dim: int, like: Tensor) -> None:
        wide = torch.promote_types(like.dtype, torch.float32)
        self.sums = like.new_zeros(batch, num_kv_heads, num_features, head_dim + 1, dtype=wide)
        """phi(k) (v, 1)^T, [B, G, F, E + 1]; of exponentials, each divided by exp(peak)."""
        self.peak = like.new_full((batch, num_kv_heads, 1, num_features), LOWEST, dtype=wide)
        """Largest log feature so far, [B, G, 1, F]; not used where features are not exponentials."""

    def raise_peak(self, peak: Tensor) -> Tensor:
        """Take in the largest log features of new keys, [B, G, 1, F]; sums follow, exactly. Returns the new peak."""
        peak = torch.maximum(self.peak, peak)
        self._own().mul_((self.peak - peak).exp_().mT)
        self.peak = peak
        return peak

    def add(self, features: Tensor, values: Tensor) -> None:
        """Take in new keys: [B, G, T, F] and [B, G, T, E + 1]."""
        sums, k, v = (x.flatten(0, 1) for x in (self._own(), features, values))
        sums.baddbmm_(k.mT, v)

    def _own(self) -> Tensor:
        """The sums, to be written over; a copy where gradients may be wanted of what was there."""
        if torch.is_grad_enabled():
            self.sums = self.sums.clone()
        return self.sums

    def select(self, rows: Tensor) -> None:
        """Keep (and repeat) these rows of the batch; int [new B]."""
        self.sums, self.peak = self.sums.index_select(0, rows), self.peak.index_select(0, rows)
