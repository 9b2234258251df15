"""Where tokens stand among the real ones of their document, and which token stands where: the coordinates of patterns.

R is B, or 1 where all rows are alike; N the number of documents in a row.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from patchword.sequence import Mask, SequenceInfo, can_look, positions_of

LAST = 2**62
"""More than any number of a document or a cell."""


class Standing(NamedTuple):
    """The keys of a mask in their documents."""

    rank: Tensor
    """int [R, S], place of each key among the real ones of its document; of padding: anything."""
    document: Tensor
    """int [R, S], which document it is of, 0 ... N - 1; of padding: anything in this range."""
    real: Tensor | None
    """bool [R, S]; None: all are."""
    placed: Tensor
    """int [R, S], the places of the real keys in order, one document after another."""
    first: Tensor
    """int [R, N], where each document begins in `placed`."""
    size: Tensor
    """int [R, N], its real keys."""

    def places(self, document: Tensor, rank: Tensor) -> tuple[Tensor, Tensor]:
        """Where these keys stand, and whether there are such; int [R, n] and [R, n, m] -> int and bool [R, n, m]."""
        first, size = (x.gather(1, document)[..., None] for x in (self.first, self.size))
        there = (rank >= 0) & (rank < size)
        at = (first + rank).masked_fill(~there, 0).clamp_max(self.placed.shape[1] - 1)
        return self.placed.gather(1, at.flatten(1)).view(rank.shape), there


class Queries(NamedTuple):
    """The queries of a mask, in the coordinates of its keys."""

    rank: Tensor
    """int [R, T]."""
    document: Tensor
    """int [R, T]."""
    real: Tensor
    """bool [R, T]."""


def standing(info: SequenceInfo, num_keys: int, device: torch.device) -> Standing:
    """The coordinates of `num_keys` keys."""
    places, valid = torch.arange(num_keys, device=device)[None], info.valid
    if valid is not None and can_look(valid) and bool(valid.all()):
        valid = None  # looking is free on a CPU, and lets all rows share one plan
    if info.segment is not None:
        return _in_documents(places, valid, info.segment)
    nothing = torch.zeros_like(places)
    if valid is None:
        return Standing(places, nothing, None, places, nothing[:, :1], torch.full_like(nothing[:, :1], num_keys))
    start = torch.zeros_like(valid[:, :1], dtype=torch.long)
    size = valid.long().sum(1, keepdim=True)
    placed = (~valid).long().argsort(dim=1, stable=True)
    return Standing(positions_of(valid), nothing.expand(len(valid), -1), valid, placed, start, size)


def _in_documents(places: Tensor, valid: Tensor | None, segment: Tensor) -> Standing:
    """Sort the keys by document (padding last); a document need not stand in one piece."""
    named = segment if valid is None else segment.masked_fill(~valid, LAST)
    name, placed = named.sort(dim=1, stable=True)
    begins = torch.ones_like(name, dtype=torch.bool)
    begins[:, 1:] = name[:, 1:] != name[:, :-1]
    start = (places * begins).cummax(1).values
    index = begins.long().cumsum(1) - 1
    num = int(index.max()) + 1
    kept = name != LAST
    size = torch.zeros(len(name), num, dtype=torch.long, device=name.device).scatter_add_(1, index, kept.long())
    first = torch.zeros_like(size).scatter_(1, index, start)
    document = torch.zeros_like(index).scatter_(1, placed, index)
    rank = torch.zeros_like(index).scatter_(1, placed, places - start)
    return Standing(rank, document, valid, placed, first, size)


def queries_of(mask: Mask, keys: Standing, ratio: float, length: int, device: torch.device) -> Queries:
    """The coordinates of the queries: their own, or between two sequences rank floor(r * ratio) for rank r.

    Rows of one sample that were folded into one (beams of one memory) come one after another: `length` is T or a
    multiple of it.
    """
    own = keys if mask.own is None else standing(mask.own.keys, mask.own.num_keys, device)
    source = mask if mask.own is None else mask.own
    at = source.start + torch.arange(source.num_queries, device=device)
    rank, document = own.rank[:, at], own.document[:, at]
    real = torch.ones_like(rank, dtype=torch.bool) if own.real is None else own.real[:, at]
    if mask.own is None:
        return Queries(rank, document, real)
    rank = (rank.double() * ratio).floor().long()
    fold = length // max(source.num_queries, 1)
    rank, real = ((x.repeat(1, fold) if len(x) == 1 else x.reshape(-1, length)) for x in (rank, real))
    return Queries(rank, torch.zeros_like(rank), real)
