"""What is read off the tokens. Built with the width: `config.build(dim)`; a language head also gets the table."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchword.config import (
    EmbeddingHeadConfig,
    LabelHeadConfig,
    LanguageHeadConfig,
    NormConfig,
    PatchHeadConfig,
    ScoresHeadConfig,
    SimilarityHeadConfig,
    UserError,
    implements,
)
from patchword.nn.activations import ACTIVATIONS
from patchword.sequence import Tokens


class Transform(nn.Module):
    """norm(activation(map(x))): what may stand before the last map of a head (Devlin et al. 2019).

    Args:
        activation: the function, by name.
        norm: the norm; None: none.
        dim: width of what is read (D).
    """

    def __init__(self, activation: str, norm: NormConfig | None, dim: int) -> None:
        super().__init__()
        self.activation, self.proj = ACTIVATIONS[activation], nn.Linear(dim, dim)
        self.norm = norm.build(dim) if norm is not None else None

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        y = self.activation(self.proj(x))
        return y if self.norm is None else self.norm(y)


@implements(LanguageHeadConfig)
class LanguageHead(nn.Module):
    """A score for each vocabulary entry at each token.

    Args:
        config: whether it is tied, and has an offset.
        dim: width of the tokens (D).
        table: the embedding table of its text tower, [at least V, D' ].
        vocab_size: entries of that tower's vocabulary (V).
    """

    def __init__(self, config: LanguageHeadConfig, dim: int, table: nn.Embedding, vocab_size: int) -> None:
        super().__init__()
        self.transform = Transform(config.transform, config.norm, dim) if config.transform is not None else None
        self.proj = nn.Linear(dim, vocab_size, bias=config.bias)
        if config.tied:
            self.proj.weight = table.weight

    def forward(self, tokens: Tokens) -> Tensor:
        """[B, T, D] -> [B, T, V]."""
        return self.proj(self.given(tokens.x))

    def given(self, x: Tensor) -> Tensor:
        """What the map to scores is given of tokens, for a loss that never holds all scores; [..., D] -> same."""
        return x if self.transform is None else self.transform(x)


@implements(ScoresHeadConfig)
class ScoresHead(nn.Module):
    """A score for each vocabulary entry at each token: the token itself."""

    def __init__(self, config: ScoresHeadConfig, dim: int) -> None:
        super().__init__()
        self.config, self.dim = config, dim

    def forward(self, tokens: Tokens) -> Tensor:
        """[B, T, V] -> same."""
        return tokens.x


@implements(PatchHeadConfig)
class PatchHead(nn.Module):
    """The normalised pixels of each patch.

    Args:
        config: names the tower.
        dim: width of its tokens (D).
        numbers: pixels of a patch, all channels.
    """

    def __init__(self, config: PatchHeadConfig, dim: int, numbers: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim, numbers)

    def forward(self, tokens: Tokens) -> Tensor:
        """[B, N, D] -> [B, N, C x h x w]."""
        return self.proj(tokens.x)


@implements(LabelHeadConfig)
class LabelHead(nn.Module):
    """A score for each class."""

    def __init__(self, config: LabelHeadConfig, dim: int) -> None:
        super().__init__()
        if config.num_classes is None:
            raise UserError("label head: num_classes is not known yet; it follows from the data, or set num_classes")
        self.pool = config.pool.build(dim)
        self.transform = Transform(config.transform, None, dim) if config.transform is not None else None
        self.proj = nn.Linear(dim, config.num_classes)

    def forward(self, tokens: Tokens) -> Tensor:
        """[B, T, D] -> [B, num_classes]."""
        x = self.pool(tokens)
        return self.proj(x if self.transform is None else self.transform(x))


@implements(EmbeddingHeadConfig)
class EmbeddingHead(nn.Module):
    """One vector for a whole sequence, of length 1 where configured."""

    def __init__(self, config: EmbeddingHeadConfig, dim: int) -> None:
        super().__init__()
        self.pool, self.normalize = config.pool.build(dim), config.normalize
        self.proj = nn.Linear(dim, config.out_dim, bias=config.bias) if config.out_dim is not None else None

    def forward(self, tokens: Tokens) -> Tensor:
        """[B, T, D] -> [B, out_dim], or [B, D] without a map."""
        y = self.pool(tokens)
        if self.proj is not None:
            y = self.proj(y)
        return F.normalize(y, dim=-1) if self.normalize else y


@implements(SimilarityHeadConfig)
class SimilarityHead(nn.Module):
    """How alike vectors of two heads are: exp(log_scale) a . b + bias (Radford et al. 2021; Zhai et al. 2023).

    `log_scale` and `bias` are [1], and None where the configuration has none.
    """

    def __init__(self, config: SimilarityHeadConfig) -> None:
        super().__init__()
        self.config = config
        self.log_scale = nn.Parameter(torch.empty(1)) if config.temperature is not None else None
        self.bias = nn.Parameter(torch.empty(1)) if config.bias is not None else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """As configured."""
        if self.log_scale is not None and self.config.temperature is not None:
            nn.init.constant_(self.log_scale, -math.log(self.config.temperature))
        if self.bias is not None and self.config.bias is not None:
            nn.init.constant_(self.bias, self.config.bias)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """[N, D], [M, D] -> [N, M]."""
        scores = a @ b.T
        if self.log_scale is not None:
            scores = scores * self.log_scale.exp().to(scores.dtype)
        return scores if self.bias is None else scores + self.bias.to(scores.dtype)

    def after_step(self) -> None:
        """Keep the scale at `max_scale` at most; the trainer calls it after each step, others who train must, too."""
        if self.log_scale is not None and self.config.max_scale is not None:
            with torch.no_grad():
                self.log_scale.clamp_(max=math.log(self.config.max_scale))
