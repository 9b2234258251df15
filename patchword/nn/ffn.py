"""The part of a block that looks at each token alone. Built with the width: `config.build(dim)`."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from patchword.config import FeedForwardConfig, GLUConfig, StandardFeedForwardConfig, SwiGLUConfig, implements
from patchword.nn.activations import ACTIVATIONS


@implements(StandardFeedForwardConfig)
class StandardFeedForward(nn.Module):
    """down(activation(up(x))) (Vaswani et al. 2017)."""

    def __init__(self, config: StandardFeedForwardConfig, dim: int) -> None:
        super().__init__()
        hidden = config.hidden_dim or 4 * dim
        self.activation = ACTIVATIONS[config.activation]
        self.up_proj = nn.Linear(dim, hidden, bias=config.bias)
        self.down_proj = nn.Linear(hidden, dim, bias=config.bias)
        self.dropout = config.dropout

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        return self.down_proj(F.dropout(self.activation(self.up_proj(x)), self.dropout, self.training))


class _Gated(nn.Module):
    def __init__(self, config: FeedForwardConfig, dim: int, activation: str) -> None:
        super().__init__()
        hidden = config.hidden_dim or -(-8 * dim // 3 // 8) * 8
        self.activation = ACTIVATIONS[activation]
        self.gate_proj = nn.Linear(dim, hidden, bias=config.bias)
        self.up_proj = nn.Linear(dim, hidden, bias=config.bias)
        self.down_proj = nn.Linear(hidden, dim, bias=config.bias)
        self.dropout = config.dropout

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        inner = self.activation(self.gate_proj(x)) * self.up_proj(x)
        return self.down_proj(F.dropout(inner, self.dropout, self.training))


@implements(GLUConfig)
class GLU(_Gated):
    """down(activation(gate(x)) * up(x)) (Dauphin et al. 2017; Shazeer 2020)."""

    def __init__(self, config: GLUConfig, dim: int) -> None:
        super().__init__(config, dim, config.activation)


@implements(SwiGLUConfig)
class SwiGLU(_Gated):
    """down(silu(gate(x)) * up(x)) (Shazeer 2020)."""

    def __init__(self, config: SwiGLUConfig, dim: int) -> None:
        super().__init__(config, dim, "silu")
