"""How a vector's scale is kept in bounds. Each is built with the width: `config.build(dim)`; [..., D] -> [..., D]."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from patchword.config import LayerNormConfig, NoNormConfig, RMSNormConfig, ScaleNormConfig, implements


@implements(LayerNormConfig)
class LayerNorm(nn.LayerNorm):
    """Layer normalisation (Ba et al. 2016)."""

    def __init__(self, config: LayerNormConfig, dim: int) -> None:
        super().__init__(dim, eps=config.eps, bias=config.bias)


@implements(RMSNormConfig)
class RMSNorm(nn.RMSNorm):
    """Root mean square normalisation (Zhang and Sennrich 2019)."""

    def __init__(self, config: RMSNormConfig, dim: int) -> None:
        super().__init__(dim, eps=config.eps)


@implements(ScaleNormConfig)
class ScaleNorm(nn.Module):
    """gain x / (|x| + eps), one learned gain that starts at sqrt(dim) (Nguyen and Salazar 2019)."""

    def __init__(self, config: ScaleNormConfig, dim: int) -> None:
        super().__init__()
        self.eps, self.dim = config.eps, dim
        self.gain = nn.Parameter(torch.empty(()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The gain that leaves a vector of unit variance as it is."""
        nn.init.constant_(self.gain, self.dim**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        return x * (self.gain / (torch.linalg.vector_norm(x, dim=-1, keepdim=True) + self.eps))


@implements(NoNormConfig)
class NoNorm(nn.Identity):
    """Vectors stay as they are."""

    def __init__(self, config: NoNormConfig, dim: int) -> None:
        super().__init__()
