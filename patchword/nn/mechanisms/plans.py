"""From a pattern and the facts of a mask to places: which queries are computed together, with which keys.

R rows (B, or 1 where all are alike), n groups of queries, C queries of a group, m keys that a group looks at.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from patchword.nn.mechanisms.patterns import Everything, Look, Pattern
from patchword.nn.mechanisms.ranks import LAST, Queries, Standing, queries_of, standing
from patchword.sequence import Mask, positions_of

DOCUMENT = 2**52
"""Cells of one document: more than there can be."""


class Policy(NamedTuple):
    """What an attention layer asks of its mask."""

    causal: bool = False
    window: int | None = None
    ratio: float = 1.0
    """Keys of another sequence for each query."""


class Run(NamedTuple):
    """Groups that stand evenly: group i holds queries from `query` + i C on and looks at keys from `key` + i `step` on,
    none of which is missing. They are views, not copies."""

    query: int
    key: int
    step: int


class Plan(NamedTuple):
    """One look, in places."""

    shape: tuple[int, int]
    """n, C."""
    queries: Tensor
    """int [R, n * C], the place of each query; 0 where a group is not full."""
    keys: Tensor
    """int [R, n * m], the place of each key; 0 where there is none."""
    added: Tensor
    """[R, n or 1, C or 1, m], 0 or -inf; rows that may see nothing are all 0."""
    back: Tensor
    """int [R, T], where in `queries` each query is; 0 where it is nowhere."""
    blind: Tensor
    """bool [R, T], queries that may see nothing here, or are not here."""
    run: Run | None = None
    """The same places in short, where they are even and rows alike."""


class Part(NamedTuple):
    """Some of the queries of a look."""

    look: Look
    live: Tensor
    """bool [R, T]."""
    alike: bool = False
    """Whether all of its cells look alike."""


class Grouping(NamedTuple):
    """Queries by cells."""

    cells: Tensor
    """int [R, n]; 0 where a row has fewer."""
    queries: Tensor
    """int [R, n, C]."""
    back: Tensor
    """int [R, T]."""


class Planner:
    """Lowers the looks of a pattern for one mask.

    Args:
        mask: the facts.
        policy: what else limits who may see whom.
        like: the queries, [B, H, T, E]; beams of one memory folded into their length.
    """

    def __init__(self, mask: Mask, policy: Policy, like: Tensor) -> None:
        self.mask, self.policy, self.like = mask, policy, like
        self.length = like.shape[2]
        self.keys = standing(mask.keys, mask.num_keys, like.device)
        self.queries = queries_of(mask, self.keys, policy.ratio, self.length, like.device)
        self.alone = self.length == 1
        orders = (mask.queries.order, mask.keys.order)
        alike = max(len(fact) for fact in (*self.keys, *self.queries, *orders) if fact is not None)
        self.rows = len(like) if self.alone else alike  # a few rows are gathered where they are, many as one
        self.keys = Standing(*(None if x is None else x.expand(self.rows, -1) for x in self.keys))  # pyright: ignore
        self.queries = Queries(*(x.expand(self.rows, -1) for x in self.queries))
        self.own = mask.own is None
        self.in_order = self.own and policy.causal and orders == (None, None)

    def plans(self, pattern: Pattern) -> list[list[Plan]]:
        """Plans whose results are put together by query: the looks of a union, each a list of alternatives."""
        several = self.mask.queries.segment is not None
        longest = int(self.keys.size.max()) if several else self.mask.num_keys
        behind = self.in_order or (self.own and self.alone)  # no key stands after the query that is alone
        looks = pattern.looks(longest, not behind, self.alone)
        live = self.queries.real
        if len(looks) != 1:
            return [self._plans([Part(look, live)]) for look in looks]
        if behind or not pattern.num_global:
            return [self._plans(self._split(looks[0], live))]
        seers = self.queries.rank < pattern.num_global
        return [self._plans([*self._split(looks[0], live & ~seers), Part(Everything(longest), live & seers)])]

    def _split(self, look: Look, live: Tensor) -> list[Part]:
        """A look; where nothing is known of the tokens, the cells that look alike apart from those at the edges."""
        mask = self.mask
        known = (mask.keys.valid, mask.keys.segment, mask.keys.order, mask.queries.order)
        if not self.own or mask.num_queries != mask.num_keys or any(fact is not None for fact in known):
            return [Part(look, live)]
        whole = look.whole(self.queries.rank, self.mask.num_keys)
        return [Part(look, live)] if whole is None else [Part(look, live & ~whole), Part(look, live & whole, True)]

    def _plans(self, parts: list[Part]) -> list[Plan]:
        found = [self._lower(part) for part in parts]
        return [plan for plan in found if plan is not None]

    def _lower(self, part: Part) -> Plan | None:
        look, live, alike = part
        cell = self.queries.document * DOCUMENT + look.cell(self.queries.rank)
        groups = one_group(cell) if self.alone else grouped(cell, live)
        if groups is None:
            return None
        document = groups.cells // DOCUMENT
        ranks = look.keys(groups.cells % DOCUMENT, self.keys.size.gather(1, document))
        places, there = self.keys.places(document, ranks)
        shape = (groups.queries.shape[1], groups.queries.shape[2])
        masked = slice(1) if alike else slice(None)  # the groups that need a mask of their own
        see = self._seen(look, groups.queries[:, masked], places[:, masked], ranks[:, masked]) & there[:, masked, None]
        empty = ~see.any(-1, keepdim=True)
        added = torch.zeros(see.shape, dtype=self.like.dtype, device=self.like.device)
        added = added.masked_fill_(~(see | empty), float("-inf"))
        blind = empty[..., 0].expand(-1, *shape).flatten(1).gather(1, groups.back) | ~live
        run = _run(groups.queries[0], places[0]) if alike and self.rows == 1 else None
        return Plan(shape, groups.queries.flatten(1), places.flatten(1), added, groups.back, blind, run)

    def _seen(self, look: Look, queries: Tensor, places: Tensor, ranks: Tensor) -> Tensor:
        """What look, order and window allow; bool, to be broadcast to [R, n, C, m].

        Args:
            look: which keys.
            queries: places of queries; int [R, n, C].
            places: places of keys; int [R, n, m].
            ranks: their ranks.
        """
        mask, policy = self.mask, self.policy
        own, other = _at(self.queries.rank, queries)[..., None].int(), ranks[:, :, None].int()  # pairs are many
        sees = look.sees(own, other)
        see = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=own.device) if sees is None else sees
        if self.in_order:
            see = see & (other <= own)
        elif policy.causal:
            now, then = self._orders()
            see = see & (_at(now, queries)[..., None] >= _at(then, places)[:, :, None])
        if policy.window is not None:
            if mask.queries.segment is not None:  # counted along the row, whatever documents stand between
                along = torch.arange(mask.num_keys, device=own.device)[None]
                along = (along if mask.keys.valid is None else positions_of(mask.keys.valid)).expand(self.rows, -1)
                own, other = _at(along, queries)[..., None], _at(along, places)[:, :, None]
            see = see & ((own - other).abs() < policy.window)
        return see

    def _orders(self) -> tuple[Tensor, Tensor]:
        """Orders of queries and keys; int [R, T] and [R, S]."""
        mask, device = self.mask, self.like.device
        own = (mask.start + torch.arange(self.length, device=device))[None]
        places = torch.arange(mask.num_keys, device=device)[None]
        now = own if mask.queries.order is None else mask.queries.order
        then = places if mask.keys.order is None else mask.keys.order
        return now.expand(self.rows, -1), then.expand(self.rows, -1)


def _run(queries: Tensor, keys: Tensor) -> Run | None:
    """Places in short, int [n, C] and [n, m]; None: they are not even."""
    num, capacity, looked = *queries.shape, keys.shape[1]
    query, key = int(queries[0, 0]), int(keys[0, 0])
    step = int(keys[1, 0]) - key if num > 1 else looked
    if step <= 0:
        return None
    along = torch.arange(num * capacity, device=queries.device)
    even = key + step * torch.arange(num, device=keys.device)[:, None] + torch.arange(looked, device=keys.device)
    there = torch.equal(queries.flatten(), query + along) and torch.equal(keys, even)
    return Run(query, key, step) if there else None


def _at(fact: Tensor, places: Tensor) -> Tensor:
    """int [R, T] at int [R, n, m] -> [R, n, m]."""
    return fact.gather(1, places.flatten(1)).view(places.shape)


def one_group(cell: Tensor) -> Grouping:
    """A single query a row; int [R, 1]."""
    nothing = torch.zeros_like(cell)
    return Grouping(cell, nothing[..., None], nothing)


def grouped(cell: Tensor, live: Tensor) -> Grouping | None:
    """Live queries in groups of one cell; int and bool [R, T]; None: there are none."""
    rows, length = cell.shape
    cell, index = cell.masked_fill(~live, LAST).sort(dim=1, stable=True)
    alive = cell != LAST
    begins = torch.ones_like(alive)
    begins[:, 1:] = cell[:, 1:] != cell[:, :-1]
    place = torch.arange(length, device=cell.device)
    group = begins.long().cumsum(1) - 1
    slot = place - (place * begins).cummax(1).values
    num, capacity = (int(x.masked_fill(~alive, -1).max()) + 1 for x in (group, slot))
    if not num:
        return None
    spot = (group * capacity + slot).masked_fill(~alive, num * capacity)
    queries = torch.zeros(rows, num * capacity + 1, dtype=torch.long, device=cell.device).scatter_(1, spot, index)
    cells = torch.zeros(rows, num + 1, dtype=torch.long, device=cell.device)
    cells.scatter_(1, group.masked_fill(~alive, num), cell)
    back = torch.zeros_like(index).scatter_(1, index, spot.masked_fill(~alive, 0))
    return Grouping(cells[:, :-1], queries[:, :-1].unflatten(1, (num, capacity)), back)


def plans_for(mask: Mask, pattern: Pattern, policy: Policy, like: Tensor) -> list[list[Plan]]:
    """The plans of a pattern, without gradient."""
    with torch.no_grad():
        return Planner(mask, policy, like).plans(pattern)
