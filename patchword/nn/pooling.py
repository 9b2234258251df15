"""How a sequence becomes one vector: tokens [B, T, D] -> [B, D]. A sequence without real tokens gives zeros."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from patchword.config import (
    AttentionPoolConfig,
    FirstPoolConfig,
    LastPoolConfig,
    MeanPoolConfig,
    SoftmaxAttentionConfig,
    implements,
)
from patchword.nn.attention import Attention, View
from patchword.sequence import Mask, SequenceInfo, Tokens, real


@implements(MeanPoolConfig)
class MeanPool(nn.Module):
    """The mean over the real tokens."""

    def __init__(self, config: MeanPoolConfig, dim: int) -> None:
        super().__init__()

    def forward(self, tokens: Tokens) -> Tensor:
        """[B, T, D] -> [B, D]."""
        keep = real(tokens)[..., None].to(tokens.x.dtype)
        return (tokens.x * keep).sum(1) / keep.sum(1).clamp_min(1)


class _OnePool(nn.Module):
    def __init__(self, config: FirstPoolConfig | LastPoolConfig, dim: int) -> None:
        super().__init__()

    def _take(self, tokens: Tokens, index: Tensor) -> Tensor:
        if tokens.x.shape[1] == 0:
            return tokens.x.sum(1)
        x = tokens.x.gather(1, index[:, None, None].expand(-1, 1, tokens.x.shape[2]))[:, 0]
        return x * real(tokens).any(-1, keepdim=True).to(x.dtype)


@implements(FirstPoolConfig)
class FirstPool(_OnePool):
    """The first real token."""

    def forward(self, tokens: Tokens) -> Tensor:
        """[B, T, D] -> [B, D]."""
        return self._take(tokens, real(tokens).int().argmax(-1) if tokens.x.shape[1] else tokens.x.new_zeros(0))


@implements(LastPoolConfig)
class LastPool(_OnePool):
    """The last real token."""

    def forward(self, tokens: Tokens) -> Tensor:
        """[B, T, D] -> [B, D]."""
        valid = real(tokens)
        places = torch.arange(valid.shape[1], device=valid.device)
        return self._take(tokens, (valid * places).amax(-1) if valid.shape[1] else tokens.x.new_zeros(0))


@implements(AttentionPoolConfig)
class AttentionPool(nn.Module):
    """A learned query looks at the tokens (Lee et al. 2019, Set Transformer)."""

    def __init__(self, config: AttentionPoolConfig, dim: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.empty(dim))
        self.attention = Attention(SoftmaxAttentionConfig(num_heads=config.num_heads), dim, memory_dim=dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """A small random query."""
        nn.init.normal_(self.query, std=0.02)

    def forward(self, tokens: Tokens) -> Tensor:
        """[B, T, D] -> [B, D]."""
        batch, length, dim = tokens.x.shape
        mask = Mask(SequenceInfo(), SequenceInfo(valid=tokens.info.valid), 1, length)
        y = self.attention(self.query.expand(batch, 1, dim), View(mask, memory=tokens.x))[:, 0]
        return y * real(tokens).any(-1, keepdim=True).to(y.dtype)
