"""What decoding remembers. The caller owns it; modules read and write it, and keep nothing themselves.

B batch, G key/value heads, S places, E head width. A *growing* cache knows its length as a Python number and holds no
more than was written: fastest when run as it stands. A *static* cache knows it as a tensor, is made for the longest
sequence at once and always shows all places, with the rest masked: every step then has the same shapes, so that it can
be compiled and exported.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from patchword.sequence import SequenceInfo, positions_of


class LayerCache(Protocol):
    """What one attention layer remembers; its mechanism decides what that is."""

    def select(self, rows: Tensor) -> None:
        """Keep (and repeat) these rows of the batch; int [new B]."""
        ...


class KeyValueCache:
    """Keys and values of one layer, [S, B, G, E] each, with room for S tokens a row; what is not written yet is zero.

    Places come first, so that those written are one piece of memory: rows are then chosen in one copy, into what the
    rows before left. Where gradients are wanted nothing is written over, which costs a copy a step.
    """

    def __init__(self, batch: int, num_kv_heads: int, room: int, head_dim: int, like: Tensor) -> None:
        shape = (room, batch, num_kv_heads, head_dim)
        self.k, self.v = like.new_zeros(shape), like.new_zeros(shape)
        self.used = room
        self._spare: Tensor | None = None

    def write(self, k: Tensor, v: Tensor, start: int | Tensor) -> tuple[Tensor, Tensor]:
        """Put new keys and values [B, G, T, E] at places `start` ...; returns all that can be looked at.

        A start that is a number tells a cache that grows: what was written can be looked at, not all its room.
        """
        k, v = k.permute(2, 0, 1, 3), v.permute(2, 0, 1, 3)
        if torch.is_grad_enabled() and (k.requires_grad or v.requires_grad):
            self.k, self.v = self.k.clone(), self.v.clone()
        if isinstance(start, int):
            self.used = start + k.shape[0]
            self.k[start : self.used], self.v[start : self.used] = k, v
        else:
            places = start + torch.arange(k.shape[0], device=k.device)
            self.k.index_copy_(0, places, k.to(self.k.dtype))
            self.v.index_copy_(0, places, v.to(self.v.dtype))
        return self.k[: self.used].permute(1, 2, 0, 3), self.v[: self.used].permute(1, 2, 0, 3)

    def select(self, rows: Tensor) -> None:
        """Keep (and repeat) these rows of the batch; int [new B]."""
        self.k, self.v = self._chosen(self.k, rows), self._chosen(self.v, rows)

    def _chosen(self, held: Tensor, rows: Tensor) -> Tensor:
        if torch.is_grad_enabled() and held.requires_grad:
            return held.index_select(1, rows)
        room = self._spare
        if room is None or room.shape[1] != len(rows):
            room = held.new_empty(held.shape[0], len(rows), *held.shape[2:])
        torch.index_select(held[: self.used], 1, rows, out=room[: self.used])
        self._spare = held
        return room


class MemoryCache:
    """Keys and values of a memory, projected when it is first looked at.

    Its batch may be a divisor of the queries': beams of one sample share one memory, so rows are never reordered.
    """

    def __init__(self) -> None:
        self.k: Tensor | None = None
        self.v: Tensor | None = None

    def select(self, rows: Tensor) -> None:
        """Nothing to do: beams of one sample look at the same memory."""


class BlockCache:
    """What one block remembers: its look at itself, and its look at a memory."""

    def __init__(self, own: LayerCache | None, memory: MemoryCache | None) -> None:
        self.own, self.memory = own, memory

    def select(self, rows: Tensor) -> None:
        """Keep (and repeat) these rows of the batch; int [new B]."""
        if self.own is not None:
            self.own.select(rows)


class StackCache:
    """What a stack remembers: a cache for each block, and the facts about the tokens in them, kept once."""

    def __init__(
        self,
        blocks: list[BlockCache],
        batch: int,
        max_len: int,
        static: bool,
        device: torch.device,
        keeps_places: bool = False,
    ) -> None:
        self.blocks, self.max_len, self.static, self.keeps_places = blocks, max_len, static, keeps_places
        self.length: int | Tensor = torch.zeros((), dtype=torch.long, device=device) if static else 0
        self._valid: Tensor | None = None
        self._order: Tensor | None = None
        self._pos: Tensor | None = None
        self._modality: Tensor | None = None
        self._grid: Tensor | None = None
        if static:  # facts must have their final shape from the first step on
            self._valid = torch.zeros(batch, max_len, dtype=torch.bool, device=device)
            self._order = torch.arange(max_len, device=device).expand(batch, -1).clone()

    def extend(self, info: SequenceInfo, batch: int, num_tokens: int, device: torch.device) -> Extended:
        """Take in the facts of the next tokens; `pos` and `order` go on where they ended unless given.

        Raises:
            ValueError: more tokens than the cache was made for, or packed documents.
        """
        if info.segment is not None:
            raise ValueError("a cache holds one document a row: packed documents cannot be decoded step by step")
        start = self.length
        if isinstance(start, int) and start + num_tokens > self.max_len:
            raise ValueError(f"the cache was made for {self.max_len} tokens, {start + num_tokens} are needed")
        places = start + torch.arange(num_tokens, device=device)
        pos = info.pos if info.pos is not None else self._positions(info.valid, places)
        self._remember(info, batch, places)
        if self.keeps_places:
            self._pos = self._kept(self._pos, pos, batch, places)
            self._modality = self._kept(self._modality, info.modality, batch, places)
            self._grid = self._kept(self._grid, info.grid, batch, places)
        self.length = start + num_tokens
        end = self.max_len if self.static else self.length
        assert isinstance(end, int)
        valid = None if self._valid is None else self._valid[:, :end]
        order = None if self._order is None else self._order[:, :end]
        own_order = info.order if info.order is not None or order is None else places[None]
        stand, kinds, grid = (None if f is None else f[:, :end] for f in (self._pos, self._modality, self._grid))
        keys = SequenceInfo(valid, stand, order, modality=kinds, grid=grid)
        return Extended(info._replace(pos=pos, order=own_order), keys, start, end)

    def _positions(self, valid: Tensor | None, places: Tensor) -> Tensor:
        """Place among the real tokens of each row, counting those already here; int [1 or B, T]."""
        if self._valid is None and valid is None:
            return places[None]
        own = torch.arange(len(places), device=places.device)[None] if valid is None else positions_of(valid)
        if self._valid is None:
            return self.length + own
        filled = torch.arange(self.max_len, device=places.device) < self.length
        return (self._valid & filled).sum(-1, keepdim=True) + own

    def _remember(self, info: SequenceInfo, batch: int, places: Tensor) -> None:
        if info.valid is not None and self._valid is None:
            self._valid = torch.ones(batch, self.max_len, dtype=torch.bool, device=places.device)
        if info.order is not None and self._order is None:
            self._order = torch.arange(self.max_len, device=places.device).expand(batch, -1).clone()
        if self._valid is not None:
            valid = info.valid if info.valid is not None else torch.ones_like(places, dtype=torch.bool)[None]
            self._valid.index_copy_(1, places, valid.expand(self._valid.shape[0], -1))
        if self._order is not None:
            order = info.order if info.order is not None else places[None]
            self._order.index_copy_(1, places, order.expand(self._order.shape[0], -1))

    def _kept(self, held: Tensor | None, fact: Tensor | None, batch: int, places: Tensor) -> Tensor | None:
        """Where keys stand, for positions that compare it with the query's place: one row while all rows are alike."""
        if fact is None:
            return held
        rows = batch if self.static or fact.shape[0] > 1 else 1
        if held is None:
            held = torch.zeros((rows, self.max_len, *fact.shape[2:]), dtype=torch.long, device=places.device)
        elif held.shape[0] < rows:
            held = held.repeat(rows, *[1] * (held.ndim - 1))
        return held.index_copy_(1, places, fact.expand(held.shape[0], *fact.shape[1:]).long())

    def select(self, rows: Tensor) -> None:
        """Keep (and repeat) these rows of the batch, in all layers; int [new B]."""
        for block in self.blocks:
            block.select(rows)
        if self._valid is not None:
            self._valid = self._valid.index_select(0, rows)
        if self._order is not None:
            self._order = self._order.index_select(0, rows)
        self._pos, self._modality, self._grid = (
            fact if fact is None or (len(fact) == 1 and not self.static) else fact.index_select(0, rows)
            for fact in (self._pos, self._modality, self._grid)
        )


class Extended:
    """What a step needs to know: the facts of its tokens, of all keys, and where its tokens start among them."""

    __slots__ = ("end", "keys", "queries", "start")

    def __init__(self, queries: SequenceInfo, keys: SequenceInfo, start: int | Tensor, end: int) -> None:
        self.queries, self.keys, self.start, self.end = queries, keys, start, end
