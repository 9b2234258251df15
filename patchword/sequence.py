"""The facts about a sequence, and who may see whom. Facts travel with tensors; nobody passes a mask by hand.

B batch, T query length, S key length, D model width. Masks are boolean and True means "real" or "may be seen".
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class TextInput(NamedTuple):
    """Token ids as a model reads them."""

    ids: Tensor
    """int [B, T]."""
    valid: Tensor | None = None
    """bool [B, T], True where a token is real; None: all are."""


class ImageInput(NamedTuple):
    """Pictures as a model reads them: on one canvas, each in its top left corner."""

    pixels: Tensor
    """[B, C, height, width]; uint8 0..255, or float 0..1."""
    size: Tensor | None = None
    """int [B, 2], height and width of each picture in pixels (0, 0: the sample has none); None: the whole canvas."""
    hidden: Tensor | None = None
    """bool [B, N], True where a patch is hidden (masked modelling; pictures are then of one size); None: none is."""


class FeaturesInput(NamedTuple):
    """Vectors that were made elsewhere, as a model reads them: patches, regions, frames."""

    x: Tensor
    """[B, N, F]."""
    valid: Tensor | None = None
    """bool [B, N], True where a vector is real; None: all are. What the others hold is never looked at."""


class SequenceInfo(NamedTuple):
    """What is known about the tokens of a sequence. None always means the trivial value."""

    valid: Tensor | None = None
    """bool [B, T]; None: every token is real."""
    pos: Tensor | None = None
    """int [B, T], or [B, T, 2] for rows and columns; None: the place among the real tokens.
    Special tokens stand at -1."""
    order: Tensor | None = None
    """int [B, T]; a causal layer sees keys with order <= own, so ties see one another; None: 0 ... T-1."""
    segment: Tensor | None = None
    """int [B, T], which of several packed documents; None: there is one."""
    modality: Tensor | None = None
    """int [B or 1, T], which tower a token of a joint sequence comes from; None: there is one."""
    grid: Tensor | None = None
    """int [B or 1, T, 2], row and column of a joint sequence's picture tokens; None: it has none."""


class Tokens(NamedTuple):
    """A sequence and what is known about it."""

    x: Tensor
    """[B, T, D]."""
    info: SequenceInfo = SequenceInfo()


def positions_of(valid: Tensor) -> Tensor:
    """Place of each real token among the real ones of its row; int [B, T] from bool [B, T]."""
    return (valid.long().cumsum(-1) - 1).clamp_min(0)


def can_look(tensor: Tensor) -> bool:
    """Whether its values can be read for nothing: it is on a CPU, nothing is being compiled, and it has values at all
    (a tensor that only stands for one, as when a model is sized, has none)."""
    return type(tensor) in (Tensor, nn.Parameter) and tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def has_no_values(tensor: Tensor) -> bool:
    """Whether a tensor only stands for one, as when a model is sized: it is then taken for the usual case."""
    return type(tensor) not in (Tensor, nn.Parameter) and not torch.compiler.is_compiling()


def real(tokens: Tokens) -> Tensor:
    """The `valid` fact written out; bool [B, T]."""
    if tokens.info.valid is not None:
        return tokens.info.valid
    return torch.ones(tokens.x.shape[:2], dtype=torch.bool, device=tokens.x.device)


def concat(parts: list[Tokens]) -> Tokens:
    """Sequences one after another along length; `pos` becomes the place among the real tokens, rows and columns `grid`.

    Facts that are trivial in all parts stay None. Padding between parts is fine.
    """
    if len(parts) == 1:
        return parts[0]
    x = torch.cat([p.x for p in parts], 1)
    valid = order = pos = None
    if any(p.info.valid is not None for p in parts):
        valid = torch.cat([real(p) for p in parts], 1)
        pos = positions_of(valid)
    if any(p.info.order is not None for p in parts):
        order, start = [], 0
        for p in parts:
            own = p.info.order if p.info.order is not None else torch.arange(p.x.shape[1], device=x.device)[None]
            order.append((own + start).expand(x.shape[0], -1))
            start += p.x.shape[1]
        order = torch.cat(order, 1)
    return Tokens(x, SequenceInfo(valid, pos, order, modality=_modalities(parts), grid=_grids(parts)))


def _modalities(parts: list[Tokens]) -> Tensor | None:
    return _joined([p.info.modality for p in parts], parts, ())


def _grids(parts: list[Tokens]) -> Tensor | None:
    own = [p.info.pos if p.info.pos is not None and p.info.pos.ndim == 3 else p.info.grid for p in parts]
    return _joined(own, parts, (2,))


def _joined(facts: list[Tensor | None], parts: list[Tokens], more: tuple[int, ...]) -> Tensor | None:
    """Facts one after another along length, zeros where there is none; one row where all are one row for all."""
    there = [fact for fact in facts if fact is not None]
    if not there:
        return None
    x = parts[0].x
    rows = 1 if all(fact.shape[0] == 1 for fact in there) else x.shape[0]
    nothing = torch.zeros((), dtype=torch.long, device=x.device)
    filled = (nothing if fact is None else fact for fact in facts)
    return torch.cat([f.expand(rows, p.x.shape[1], *more) for f, p in zip(filled, parts, strict=True)], 1)


class Lowered(NamedTuple):
    """A mask in the form that fused kernels take."""

    causal: bool = False
    """Whether the plain lower triangle says it all."""
    see: Tensor | None = None
    """bool [B or 1, 1, T, S], True = may be seen; None: everything (or the triangle). Rows that may see nothing are
    all True here, so that no kernel divides by zero."""
    empty: Tensor | None = None
    """bool [B or 1, 1, T, 1], rows that may see nothing: their result is zero; None: there are none."""


class Mask:
    """Who may see whom, as a description: facts of the queries and of the keys.

    Each layer adds its policy (causal, window); what follows from both is made once and shared by all layers.
    """

    def __init__(
        self,
        queries: SequenceInfo,
        keys: SequenceInfo,
        num_queries: int,
        num_keys: int,
        start: int | Tensor = 0,
        own: Mask | None = None,
    ) -> None:
        self.queries, self.keys = queries, keys
        self.num_queries, self.num_keys = num_queries, num_keys
        self.start = start  # place of the first query among the keys, where no order is given
        self.own = own  # between two sequences: the mask of the queries' own
        self._lowered: dict[tuple[bool, int | None], Lowered] = {}
        self._additive: dict[tuple[bool, int | None, torch.dtype], Tensor] = {}
        self._made: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What a mechanism makes of the facts, made once for all layers that ask with the same key."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def lower(self, causal: bool, window: int | None, device: torch.device) -> Lowered:
        """The mask under a policy: keys with order <= own (causal) and less than `window` real tokens away are seen."""
        policy = (causal, window)
        if policy not in self._lowered:
            self._lowered[policy] = self._lower(causal, window, device)
        return self._lowered[policy]

    def additive(self, causal: bool, window: int | None, like: Tensor) -> Tensor | None:
        """The same as a term added to scores: 0 where seen, -inf elsewhere; [B or 1, 1, T, S]; None: nothing to add."""
        see = self.lower(causal, window, like.device).see
        if see is None:
            return None
        key = (causal, window, like.dtype)
        if key not in self._additive:
            zeros = torch.zeros(see.shape, dtype=like.dtype, device=like.device)
            self._additive[key] = zeros.masked_fill(~see, float("-inf"))
        return self._additive[key]

    def flags(self, causal: bool, window: int | None) -> Lowered | None:
        """The mask where flags of a kernel say it all; None: pairs have to be told apart."""
        if self.keys.valid is not None or self.queries.segment is not None or window is not None:
            return None
        if not causal:
            return Lowered()
        if self._orders_are_places():
            if self.num_queries == 1 and self.start == self.num_keys - 1:
                return Lowered()
            if self.start == 0 and self.num_queries == self.num_keys:
                return Lowered(causal=True)
        return None

    def _lower(self, causal: bool, window: int | None, device: torch.device) -> Lowered:
        said = self.flags(causal, window)
        if said is not None:
            return said
        see = self.dense(causal, window, device)
        empty = ~see.any(-1, keepdim=True)
        if has_no_values(empty) or (can_look(empty) and not empty.any()):
            return Lowered(see=see)  # looking is free on a CPU, and spares every layer the clearing of rows
        return Lowered(see=see | empty, empty=empty)

    def _orders_are_places(self) -> bool:
        return self.queries.order is None and self.keys.order is None and isinstance(self.start, int)

    def dense(self, causal: bool, window: int | None, device: torch.device) -> Tensor:
        """bool [B or 1, 1, T, S], True = may be seen."""
        see = torch.ones(1, 1, self.num_queries, self.num_keys, dtype=torch.bool, device=device)
        own = self.start + torch.arange(self.num_queries, device=device)
        places = torch.arange(self.num_keys, device=device)
        if causal:
            queries = own[None] if self.queries.order is None else self.queries.order
            keys = places[None] if self.keys.order is None else self.keys.order
            see = see & (queries[:, None, :, None] >= keys[:, None, None, :])
        if window is not None:  # padding between two tokens brings them no further apart
            ranks = places[None] if self.keys.valid is None else positions_of(self.keys.valid)
            see = see & ((ranks[:, own][:, None, :, None] - ranks[:, None, None, :]).abs() < window)
        if self.keys.valid is not None:
            see = see & self.keys.valid[:, None, None, :]
        if self.queries.segment is not None:
            assert self.keys.segment is not None
            see = see & (self.queries.segment[:, None, :, None] == self.keys.segment[:, None, None, :])
        return see
