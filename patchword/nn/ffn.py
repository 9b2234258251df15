"""The part of a block that looks at each token alone. Built with the width: `config.build(dim)`."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from patchword.config import (
    FeedForwardConfig,
    GEGLUConfig,
    GLUConfig,
    PerModalityFeedForwardConfig,
    ReLU2Config,
    StandardFeedForwardConfig,
    SwiGLUConfig,
    implements,
)
from patchword.nn.activations import ACTIVATIONS
from patchword.nn.modality import by_modality


class _Plain(nn.Module):
    def __init__(self, config: FeedForwardConfig, dim: int, activation: str) -> None:
        super().__init__()
        hidden = config.hidden_dim or 4 * dim
        self.activation = ACTIVATIONS[activation]
        self.up_proj = nn.Linear(dim, hidden, bias=config.bias)
        self.down_proj = nn.Linear(hidden, dim, bias=config.bias)
        self.dropout = config.dropout

    def forward(self, x: Tensor, modality: Tensor | None = None) -> Tensor:
        """[..., D] -> [..., D], whatever modality a token is of."""
        inner = self.activation(self.up_proj(x))
        return self.down_proj(F.dropout(inner, self.dropout) if self.training else inner)


@implements(StandardFeedForwardConfig)
class StandardFeedForward(_Plain):
    """down(activation(up(x))) (Vaswani et al. 2017)."""

    def __init__(self, config: StandardFeedForwardConfig, dim: int) -> None:
        super().__init__(config, dim, config.activation)


@implements(ReLU2Config)
class ReLU2(_Plain):
    """down(relu(up(x)) ** 2) (So et al. 2021)."""

    def __init__(self, config: ReLU2Config, dim: int) -> None:
        super().__init__(config, dim, "relu2")


class _Gated(nn.Module):
    def __init__(self, config: FeedForwardConfig, dim: int, activation: str) -> None:
        super().__init__()
        hidden = config.hidden_dim or -(-8 * dim // 3 // 8) * 8
        self.activation = ACTIVATIONS[activation]
        self.gate_proj = nn.Linear(dim, hidden, bias=config.bias)
        self.up_proj = nn.Linear(dim, hidden, bias=config.bias)
        self.down_proj = nn.Linear(hidden, dim, bias=config.bias)
        self.dropout = config.dropout

    def forward(self, x: Tensor, modality: Tensor | None = None) -> Tensor:
        """[..., D] -> [..., D], whatever modality a token is of."""
        inner = self.activation(self.gate_proj(x)) * self.up_proj(x)
        return self.down_proj(F.dropout(inner, self.dropout) if self.training else inner)


@implements(GLUConfig)
class GLU(_Gated):
    """down(activation(gate(x)) * up(x)) (Dauphin et al. 2017; Shazeer 2020)."""

    def __init__(self, config: GLUConfig, dim: int) -> None:
        super().__init__(config, dim, config.activation)


@implements(GEGLUConfig)
class GEGLU(_Gated):
    """down(gelu(gate(x)) * up(x)) (Shazeer 2020)."""

    def __init__(self, config: GEGLUConfig, dim: int) -> None:
        super().__init__(config, dim, "gelu")


@implements(SwiGLUConfig)
class SwiGLU(_Gated):
    """down(silu(gate(x)) * up(x)) (Shazeer 2020)."""

    def __init__(self, config: SwiGLUConfig, dim: int) -> None:
        super().__init__(config, dim, "silu")


@implements(PerModalityFeedForwardConfig)
class PerModalityFeedForward(nn.Module):
    """A feed-forward for the tokens of each modality (Bao et al. 2022, VLMo)."""

    def __init__(self, config: PerModalityFeedForwardConfig, dim: int) -> None:
        super().__init__()
        self.of = nn.ModuleDict({name: part.build(dim) for name, part in config.of.items()})

    def forward(self, x: Tensor, modality: Tensor | None = None) -> Tensor:
        """[B, T, D] -> [B, T, D]; `modality`, int [B, T], is the place of a token's tower in `config.of`.

        Raises:
            ValueError: it is not known what each token is.
        """
        return by_modality(self.of, x, modality)
