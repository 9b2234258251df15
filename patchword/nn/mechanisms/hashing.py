"""Buckets of near vectors: cross-polytope hashes (Andoni et al. 2015; Kitaev et al. 2020)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from patchword.sequence import Mask, SequenceInfo

_MOST_BITS = 20
"""A million buckets."""


class Documents(NamedTuple):
    """What hashing needs to know of the tokens; made once for all layers."""

    number: Tensor
    """Which document each token is of; int [B or 1, T], T for padding."""
    bits: Tensor
    """Logarithm (base 2) of the number of buckets of that document; int [B or 1, T]."""
    place: Tensor
    """Rank of each token by its order, then its place; int [B or 1, T]."""
    most_bits: int
    """The largest that `bits` can be at this length."""

    @classmethod
    def of(cls, mask: Mask, bucket_size: int, device: torch.device) -> Documents:
        """From the facts of a sequence that looks at itself: a document of n tokens has the power of two >= n / size.

        Neither padding nor other documents change what a document gets.
        """
        length, facts = mask.num_queries, mask.queries
        number, count = _members(facts, length, device)
        most = bits_for(length, bucket_size)
        bits = torch.zeros_like(count)
        for i in range(most):
            bits = bits + (count > bucket_size << i)
        place = torch.arange(length, device=device)[None]
        if facts.order is not None:
            place = facts.order.argsort(dim=-1, stable=True).argsort(dim=-1)
        return cls(number, bits, place, most)


def bits_for(length: int, bucket_size: int) -> int:
    """The least b with bucket_size 2^b >= length."""
    return min(max(0, -(-length // bucket_size) - 1).bit_length(), _MOST_BITS)


def _members(facts: SequenceInfo, length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Number of each token's document, and how many real tokens it has; int [B or 1, T] each."""
    valid = facts.valid
    if facts.segment is None:
        if valid is None:
            number = torch.zeros(1, length, dtype=torch.long, device=device)
            return number, torch.full_like(number, length)
        return torch.where(valid, 0, length), valid.sum(-1, keepdim=True).expand_as(valid)
    segment = facts.segment.long()
    if valid is not None:
        segment = segment.masked_fill(~valid, torch.iinfo(torch.long).max)
    found = segment.sort(dim=-1).values
    first, end = (torch.searchsorted(found, segment.contiguous(), right=right) for right in (False, True))
    return (first if valid is None else torch.where(valid, first, length)), end - first


def random_rotations(seed: int, num_hashes: int, dim: int) -> Tensor:
    """Normal numbers for as many hashes as a million buckets need; float [F, num_hashes, dim, 2^(c - 1)].

    One hash tells 2^c <= 2 dim directions apart: those nearest to each of the random vectors and to their opposites.
    """
    capacity = _capacity(dim)
    shape = (-(-_MOST_BITS // capacity), num_hashes, dim, 1 << (capacity - 1))
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), device="cpu")


def _capacity(dim: int) -> int:
    return (2 * dim).bit_length() - 1


def buckets(x: Tensor, rotations: Tensor, documents: Documents) -> Tensor:
    """The bucket of each vector, of those of all documents; x [B, H, T, E], rotations [F, E, C] -> int [B, H, T].

    The nearest of the first 2^(bits - 1) random vectors and their opposites; where that takes more than a hash can
    tell apart, the next hash goes on.
    """
    capacity = _capacity(x.shape[-1])
    bucket = documents.number[:, None].expand(x.shape[:3])
    for done in range(0, documents.most_bits, capacity):
        bits = (documents.bits - done).clamp(0, capacity)[:, None, :, None]
        columns = 1 << (min(documents.most_bits - done, capacity) - 1)
        near = x @ rotations[done // capacity, :, :columns].to(x.dtype)
        unused = torch.arange(columns, device=x.device) >= (1 << bits) >> 1
        nearest = near.abs().masked_fill(unused, -1.0).argmax(-1, keepdim=True)
        opposite = near.gather(-1, nearest) < 0
        bucket = (bucket << capacity) + ((nearest * 2 + opposite) * (bits > 0))[..., 0]
    return bucket
