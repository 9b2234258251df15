"""Positions of another kind for each modality of a joint sequence."""

from __future__ import annotations

import functools
from typing import cast

import torch
from torch import Tensor, nn

from patchword.config import PerModalityPositionConfig, UserError, implements
from patchword.nn.positions.base import Bias, Constant, Heads, Places, Position, Turn
from patchword.sequence import SequenceInfo


@implements(PerModalityPositionConfig)
class PerModalityPosition(Position):
    """Each token has its place in its own tower's way; tokens of two towers know nothing of each other's places.

    A picture's tokens stand at `info.grid`, a text's at `info.pos`: its place among all tokens of the sequence.
    """

    def __init__(self, config: PerModalityPositionConfig, places: Places, dim: int, heads: Heads) -> None:
        super().__init__(config, places, dim, heads)
        if set(config.of) != set(places.parts):
            towers = ", ".join(places.parts) or "there are none"
            raise UserError(
                f"position.of: names {', '.join(config.of)}, the towers of this sequence are: {towers} "
                "(per_modality is for a trunk that reads several)"
            )
        self.axes = [part.axes for part in places.parts.values()]
        self.of = nn.ModuleDict({name: config.of[name].build(part, dim, heads) for name, part in places.parts.items()})
        self.compares = any(part.compares for part in self._parts())

    def _parts(self) -> list[Position]:
        return [cast(Position, part) for part in self.of.values()]

    def add(self, x: Tensor, info: SequenceInfo) -> Tensor:
        """Tokens with their places added, each in its tower's way; [B, T, D] -> same."""
        out = x
        for part, (mine, own) in zip(self._parts(), self._split(info), strict=True):
            out = torch.where(mine[..., None], part.add(x, own), out)
        return out

    def rotation(self, info: SequenceInfo, dtype: torch.dtype) -> Turn | None:
        """Each token's queries and keys are turned in its tower's way."""
        turns = []
        for part, (mine, own) in zip(self._parts(), self._split(info), strict=True):
            turn = part.rotation(own, dtype)
            if turn is not None:
                turns.append((mine[:, None, :, None], turn))

        def turned(x: Tensor) -> Tensor:
            out = x
            for mine, turn in turns:
                out = torch.where(mine, turn(x), out)
            return out

        return turned if turns else None

    def bias(self, queries: SequenceInfo, keys: SequenceInfo) -> Bias | None:
        """Each part's between its own tokens, nothing between two towers'."""
        if not self.compares:
            return None
        fixed: list[Tensor] = []
        asked: list[tuple[Tensor, Bias]] = []
        for part, (mine, own), (theirs, others) in zip(
            self._parts(), self._split(queries), self._split(keys), strict=True
        ):
            bias = part.bias(own, others)
            both = mine[:, None, :, None] & theirs[:, None, None, :]
            if isinstance(bias, Constant):
                fixed.append(bias.values.masked_fill(~both, 0.0))
            elif bias is not None:
                asked.append((both, bias))
        constant = Constant(functools.reduce(torch.add, fixed)) if fixed else None
        if not asked:
            return constant

        def term(q: Tensor) -> Tensor:
            each = [bias(q).masked_fill(~both, 0.0) for both, bias in asked]
            return functools.reduce(torch.add, each if constant is None else [constant(q), *each])

        return term

    def _split(self, info: SequenceInfo) -> list[tuple[Tensor, SequenceInfo]]:
        """For each part: which tokens are its own, bool [B or 1, T], and where those stand; the rest stand at 0."""
        if info.modality is None:
            raise ValueError("per_modality positions need a joint sequence that says which tower each token is from")
        grid = info.grid
        if grid is None:  # no picture has any token here
            grid = torch.zeros((*info.modality.shape, 2), dtype=torch.long, device=info.modality.device)
        found = []
        for index, axes in enumerate(self.axes):
            mine = info.modality == index
            if axes == 1:
                assert info.pos is not None
                pos = torch.where(mine, info.pos, 0)
            else:
                pos = torch.where(mine[..., None], grid, 0)
            found.append((mine, SequenceInfo(info.valid, pos, segment=info.segment)))
        return found
