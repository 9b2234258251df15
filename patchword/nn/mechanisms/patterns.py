"""Which keys a query sees, by their ranks: patterns as *looks*, each of which gathers a few keys for many queries.

A pattern is the union of its looks (which share no pair); ranks below `num_global` see all beside.
R rows, n cells, m keys of a cell.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from patchword.config import (
    FixedPatternConfig,
    LocalPatternConfig,
    StridedPatternConfig,
    implements,
)

CLASS = 2**32
"""Cells of one residue class: more than there can be."""


class Look(ABC):
    """Queries of one cell look at the same keys."""

    @abstractmethod
    def cell(self, rank: Tensor) -> Tensor:
        """The cell of a query; int -> int."""

    @abstractmethod
    def keys(self, cell: Tensor, count: Tensor) -> Tensor:
        """Ranks of the keys of each cell, none twice, -1 for none.

        Args:
            cell: int [R, n].
            count: tokens of the document that each is of; int [R, n].

        Returns:
            int [R, n, m].
        """

    def sees(self, query: Tensor, key: Tensor) -> Tensor | None:
        """Whether a query sees a key of its cell, by their ranks (to be broadcast); None: it sees them all."""
        return None

    def whole(self, rank: Tensor, count: int) -> Tensor | None:
        """Whether nothing is missing of the query's cell or its keys among `count` tokens; bool, as `rank`.

        Such cells all look alike, so that one mask serves them. None: cells of this kind differ.
        """
        return None


class Pattern(ABC):
    """A union of looks."""

    num_global: int = 0
    """Tokens at the beginning that see all."""

    @abstractmethod
    def looks(self, longest: int, ahead: bool, alone: bool) -> tuple[Look, ...]:
        """How to gather its keys.

        Args:
            longest: tokens of the longest document.
            ahead: whether keys of higher rank than the query's may be seen; else they may be left out.
            alone: whether there is a single query, so that cells need hold no more.
        """


class Together(Look):
    """Each rank is a cell; its keys are those of all looks."""

    def __init__(self, looks: tuple[Look, ...]) -> None:
        self.looks = looks

    def cell(self, rank: Tensor) -> Tensor:
        """Its own."""
        return rank

    def keys(self, cell: Tensor, count: Tensor) -> Tensor:
        """[R, n] -> [R, n, m]."""
        found = []
        for look in self.looks:
            keys = look.keys(look.cell(cell), count)
            sees = look.sees(cell[..., None], keys)
            found.append(keys if sees is None else keys.masked_fill(~sees, -1))
        return torch.cat(found, -1)


class Everything(Look):
    """All keys of the document, for queries that see all."""

    def __init__(self, longest: int) -> None:
        self.longest = longest

    def cell(self, rank: Tensor) -> Tensor:
        """One for all."""
        return torch.zeros_like(rank)

    def keys(self, cell: Tensor, count: Tensor) -> Tensor:
        """[R, n] -> [R, n, longest]."""
        return torch.arange(self.longest, device=cell.device).expand(*cell.shape, -1)


# ------------------------------------------------------------------ local


class NearLook(Look):
    """A band and the first keys, in chunks of one residue class of ranks.

    Args:
        config: its settings.
        chunk: queries of a cell.
        ahead: whether keys after the query are of use.
    """

    def __init__(self, config: LocalPatternConfig, chunk: int, ahead: bool) -> None:
        self.reach, self.dilation, self.num_global = config.reach, config.dilation, config.num_global
        self.chunk, self.ahead = chunk, ahead

    def cell(self, rank: Tensor) -> Tensor:
        """Residue class and chunk."""
        return rank % self.dilation * CLASS + rank // self.dilation // self.chunk

    def keys(self, cell: Tensor, count: Tensor) -> Tensor:
        """[R, n] -> [R, n, reach + chunk - 1, more where keys ahead are of use]."""
        end = self.chunk + (self.reach - 1 if self.ahead else 0)
        steps = torch.arange(1 - self.reach, end, device=cell.device)
        ranks = ((cell % CLASS * self.chunk)[..., None] + steps) * self.dilation + (cell // CLASS)[..., None]
        if not self.num_global:
            return ranks
        first = torch.arange(self.num_global, device=cell.device).expand(*cell.shape, -1)
        return torch.cat([ranks.masked_fill(ranks < self.num_global, -1), first], -1)

    def whole(self, rank: Tensor, count: int) -> Tensor:
        """bool: no key before the first, or among the global ones, and none after the last."""
        kind, start = rank % self.dilation, rank // self.dilation // self.chunk * self.chunk
        first = (start + 1 - self.reach) * self.dilation + kind
        last = (start + self.chunk - 1 + (self.reach - 1 if self.ahead else 0)) * self.dilation + kind
        return (first >= self.num_global) & (last < count)

    def sees(self, query: Tensor, key: Tensor) -> Tensor:
        """bool; all keys of a cell are of its residue class, but for the first."""
        near = (query - key).abs() < self.reach * self.dilation
        return near | (key < self.num_global) if self.num_global else near


def chunk_of(reach: int) -> int:
    """Queries that share a gathered band: few waste less on its corners, many gather each key less often.

    Measured for a reach of 8 to 257 on a CPU, forward and backward.
    """
    return min(128, max(32, 2 * reach))


@implements(LocalPatternConfig)
class LocalPattern(Pattern):
    """Sliding window, dilated or not, and global tokens (Beltagy et al. 2020)."""

    def __init__(self, config: LocalPatternConfig, causal: bool) -> None:
        self.config = config
        self.num_global = config.num_global

    def looks(self, longest: int, ahead: bool, alone: bool) -> tuple[Look, ...]:
        """One band."""
        return (NearLook(self.config, 1 if alone else chunk_of(self.config.reach), ahead),)


# ------------------------------------------------------------------ strided, fixed


@implements(StridedPatternConfig)
class StridedPattern(Pattern):
    """Near keys, and far ones a whole number of strides away (Child et al. 2019)."""

    def __init__(self, config: StridedPatternConfig, causal: bool) -> None:
        self.stride, self.near = config.stride, LocalPatternConfig(reach=config.stride)

    def looks(self, longest: int, ahead: bool, alone: bool) -> tuple[Look, ...]:
        """A band and the residue classes."""
        near = NearLook(self.near, 1 if alone else chunk_of(self.stride), ahead)
        looks = (near, FarLook(self.stride, longest))
        return (Together(looks),) if alone else looks


class FarLook(Look):
    """Keys a whole number of strides away, at least one."""

    def __init__(self, stride: int, longest: int) -> None:
        self.stride, self.longest = stride, longest

    def cell(self, rank: Tensor) -> Tensor:
        """The residue class."""
        return rank % self.stride

    def keys(self, cell: Tensor, count: Tensor) -> Tensor:
        """[R, n] -> [R, n, longest / stride]."""
        return cell[..., None] + torch.arange(0, self.longest, self.stride, device=cell.device)

    def sees(self, query: Tensor, key: Tensor) -> Tensor:
        """bool."""
        return query != key


@implements(FixedPatternConfig)
class FixedPattern(Pattern):
    """Own block, and the last keys of every block (Child et al. 2019)."""

    def __init__(self, config: FixedPatternConfig, causal: bool) -> None:
        self.config = config

    def looks(self, longest: int, ahead: bool, alone: bool) -> tuple[Look, ...]:
        """One."""
        return (FixedLook(self.config, longest),)


class FixedLook(Look):
    """Each block is a cell."""

    def __init__(self, config: FixedPatternConfig, longest: int) -> None:
        self.size, self.summary, self.longest = config.block_size, config.summary, longest

    def cell(self, rank: Tensor) -> Tensor:
        """The block."""
        return rank // self.size

    def keys(self, cell: Tensor, count: Tensor) -> Tensor:
        """[R, n] -> [R, n, block_size + summary * blocks]."""
        own = cell[..., None] * self.size + torch.arange(self.size, device=cell.device)
        blocks = torch.arange(0, self.longest, self.size, device=cell.device)[:, None]
        ends = (blocks + torch.arange(self.size - self.summary, self.size, device=cell.device)).flatten()
        ends = ends.expand(*cell.shape, -1)
        return torch.cat([own, ends.masked_fill(ends // self.size == cell[..., None], -1)], -1)
