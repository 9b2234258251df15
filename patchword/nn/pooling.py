"""How a sequence becomes one vector: tokens [B, T, D] -> [B, D]. A sequence without real tokens gives zeros."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchword.config import (
    AttentionPoolConfig,
    FirstPoolConfig,
    HierarchicalPoolConfig,
    LastPoolConfig,
    MeanPoolConfig,
    ResidualConfig,
    SoftmaxAttentionConfig,
    SummaryConfig,
    implements,
)
from patchword.nn.residual import Residual
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


class LearnedQueries(nn.Module):
    """Learned vectors look at the tokens as queries; a sequence without real tokens gives them zeros.

    Args:
        num_queries: how many (Q).
        num_heads: heads of that attention (H).
        dim: width of the tokens (D).
    """

    def __init__(self, num_queries: int, num_heads: int, dim: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.queries = nn.Parameter(torch.empty(num_queries, dim))
        self.k_proj, self.v_proj = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.mechanism = SoftmaxAttentionConfig(num_heads=num_heads).build(dim // num_heads)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Small random queries."""
        nn.init.normal_(self.queries, std=0.02)

    def forward(self, tokens: Tokens) -> Tensor:
        """[B, T, D] -> [B, Q, D]: what each query finds, heads side by side."""
        batch, length = tokens.x.shape[:2]
        q = self._heads(self.queries.expand(batch, -1, -1))
        k, v = self._heads(self.k_proj(tokens.x)), self._heads(self.v_proj(tokens.x))
        mask = Mask(SequenceInfo(), SequenceInfo(valid=tokens.info.valid), 1, length)
        return self.mechanism(q, k, v, mask).transpose(1, 2).flatten(2)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


@implements(AttentionPoolConfig)
class AttentionPool(nn.Module):
    """Learned queries look at the tokens, and one map makes a vector of all that they find (Lee et al. 2019).

    With one query: the pooling by attention of Set Transformer without the map of its seed, which a learned query
    makes idle.
    """

    def __init__(self, config: AttentionPoolConfig, dim: int) -> None:
        super().__init__()
        self.look = LearnedQueries(config.num_queries, config.num_heads, dim)
        self.out_proj = nn.Linear(config.num_queries * dim, dim)
        self.ffn = Residual(ResidualConfig(), config.norm, dim, config.ffn.build(dim), 0.0) if config.ffn else None

    def forward(self, tokens: Tokens) -> Tensor:
        """[B, T, D] -> [B, D]."""
        y = self.out_proj(self.look(tokens).flatten(1))
        if self.ffn is not None:
            y = self.ffn(y)
        return y * real(tokens).any(-1, keepdim=True).to(y.dtype)


@implements(HierarchicalPoolConfig)
class HierarchicalPool(nn.Module):
    """A learned query looks at the tokens of each window, and another at what those found (Yang et al. 2016).

    Windows are of real tokens, one after another: padding moves none of them.
    """

    def __init__(self, config: HierarchicalPoolConfig, dim: int) -> None:
        super().__init__()
        self.window, self.stride = config.window, config.stride
        level = AttentionPoolConfig(num_heads=config.num_heads)
        self.windows, self.whole = AttentionPool(level, dim), AttentionPool(level, dim)

    def forward(self, tokens: Tokens) -> Tensor:
        """[B, T, D] -> [B, D]."""
        batch, length, dim = tokens.x.shape
        count = max(-(-length // self.stride), 1)
        valid = real(tokens)
        if length:  # the real tokens to the front, in their order
            order = (~valid).int().sort(dim=1, stable=True).indices
            x, valid = tokens.x.gather(1, order[..., None].expand_as(tokens.x)), valid.gather(1, order)
        else:
            x = tokens.x
        room = (count - 1) * self.stride + self.window - length
        x, valid = F.pad(x, (0, 0, 0, room)), F.pad(valid, (0, room))
        cut = x.unfold(1, self.window, self.stride).transpose(2, 3)  # [B, windows, window, D]
        seen = valid.unfold(1, self.window, self.stride)
        found = self.windows(Tokens(cut.flatten(0, 1), SequenceInfo(valid=seen.flatten(0, 1))))
        return self.whole(Tokens(found.view(batch, count, dim), SequenceInfo(valid=seen.any(-1))))


class Summary(nn.Module):
    """A few learned queries look at a sequence, and what they find stands for it (Lee et al. 2019; Yu et al. 2022).

    Args:
        config: how many.
        dim: width of the tokens (D).
    """

    def __init__(self, config: SummaryConfig, dim: int) -> None:
        super().__init__()
        self.num_queries = config.num_queries
        self.look = LearnedQueries(config.num_queries, config.num_heads, dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tokens) -> Tokens:
        """[B, T, D] -> [B, Q, D]; none of a row's are real where it has no real token."""
        valid = tokens.info.valid
        y = self.out_proj(self.look(tokens))
        if valid is None and tokens.x.shape[1]:
            return Tokens(y)
        return Tokens(y, SequenceInfo(valid=real(tokens).any(-1, keepdim=True).expand(y.shape[:2])))
