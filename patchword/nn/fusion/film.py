"""Towers that scale and shift another's tokens."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from patchword.config import FilmFusionConfig, implements
from patchword.nn.fusion.base import Fused, spread
from patchword.nn.fusion.reader import ReaderFusion
from patchword.sequence import Tokens, real


@implements(FilmFusionConfig)
class FilmFusion(ReaderFusion):
    """(1 + sum of scales) x + sum of shifts, a scale and a shift of each other tower that is there (Perez et al. 2018).

    They are maps of the tower's pooled vector; without any other tower the tokens stay as they are.
    """

    shows_tokens = False

    def __init__(self, config: FilmFusionConfig, dims: Mapping[str, int], dim: int) -> None:
        super().__init__(config, dims, dim)
        self.pools = nn.ModuleDict({name: config.pool.build(dim) for name in self.mapped})
        self.films = nn.ModuleDict({name: nn.Linear(dim, 2 * dim) for name in self.mapped})

    def forward(self, parts: Mapping[str, Tokens]) -> Fused:
        """Tokens of every tower -> the reader's, scaled and shifted."""
        made = [self._film(name, tokens) for name, tokens in zip(self.mapped, self.project(parts), strict=True)]
        kept = torch.stack(made).sum(0) if made else None
        return Fused(self._filmed(parts[self.reader], kept), kept=kept)

    def following(self, tokens: Tokens, kept: Tensor | None) -> Tokens:
        """The reader's next tokens, scaled and shifted as those before."""
        return super().following(self._filmed(tokens, kept), kept)

    def _film(self, name: str, tokens: Tokens) -> Tensor:
        """Scale and shift of one tower, [B, 2 D]; zero where it is absent."""
        film = self.films[name](self.pools[name](tokens))
        return film * real(tokens).any(-1, keepdim=True).to(film.dtype)

    def _filmed(self, tokens: Tokens, kept: Tensor | None) -> Tokens:
        if kept is None:
            return tokens
        scale, shift = spread(kept, tokens.x.shape[0])[:, None].chunk(2, -1)
        return Tokens(torch.addcmul(tokens.x + shift, tokens.x, scale), tokens.info)
