"""What is read off the tokens. Built with the width: `config.build(dim)`; a language head also gets the table."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from patchword.config import EmbeddingHeadConfig, LabelHeadConfig, LanguageHeadConfig, implements
from patchword.sequence import Tokens


@implements(LanguageHeadConfig)
class LanguageHead(nn.Module):
    """A score for each vocabulary entry at each token.

    Args:
        config: whether it is tied, and has an offset.
        dim: width of the tokens (D).
        table: the embedding table of its text tower, [V, D' ].
    """

    def __init__(self, config: LanguageHeadConfig, dim: int, table: nn.Embedding) -> None:
        super().__init__()
        self.proj = nn.Linear(dim, table.num_embeddings, bias=config.bias)
        if config.tied:
            self.proj.weight = table.weight

    def forward(self, tokens: Tokens) -> Tensor:
        """[B, T, D] -> [B, T, V]."""
        return self.proj(tokens.x)


@implements(LabelHeadConfig)
class LabelHead(nn.Module):
    """A score for each class."""

    def __init__(self, config: LabelHeadConfig, dim: int) -> None:
        super().__init__()
        self.pool = config.pool.build(dim)
        self.proj = nn.Linear(dim, config.num_classes)

    def forward(self, tokens: Tokens) -> Tensor:
        """[B, T, D] -> [B, num_classes]."""
        return self.proj(self.pool(tokens))


@implements(EmbeddingHeadConfig)
class EmbeddingHead(nn.Module):
    """One vector for a whole sequence, of length 1 where configured."""

    def __init__(self, config: EmbeddingHeadConfig, dim: int) -> None:
        super().__init__()
        self.pool, self.normalize = config.pool.build(dim), config.normalize
        self.proj = nn.Linear(dim, config.out_dim, bias=False)

    def forward(self, tokens: Tokens) -> Tensor:
        """[B, T, D] -> [B, out_dim]."""
        y = self.proj(self.pool(tokens))
        return F.normalize(y, dim=-1) if self.normalize else y
