"""The linear maps around a mechanism. Built with the widths: `config.build(in_dim, out_dim, bias)`."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from patchword.config import PerModalityProjectionConfig, SharedProjectionConfig, implements
from patchword.nn.modality import by_modality


@implements(SharedProjectionConfig)
class SharedProjection(nn.Linear):
    """One linear map for all tokens."""

    def __init__(self, config: SharedProjectionConfig, in_dim: int, out_dim: int, bias: bool) -> None:
        super().__init__(in_dim, out_dim, bias=bias)

    def forward(self, input: Tensor, modality: Tensor | None = None) -> Tensor:  # noqa: A002
        """[B, T, in_dim] -> [B, T, out_dim], whatever modality a token is of."""
        return F.linear(input, self.weight, self.bias)


@implements(PerModalityProjectionConfig)
class PerModalityProjection(nn.Module):
    """A linear map for the tokens of each modality."""

    def __init__(self, config: PerModalityProjectionConfig, in_dim: int, out_dim: int, bias: bool) -> None:
        super().__init__()
        self.of = nn.ModuleDict({name: nn.Linear(in_dim, out_dim, bias=bias) for name in config.names})

    def forward(self, x: Tensor, modality: Tensor | None = None) -> Tensor:
        """[B, T, in_dim] -> [B, T, out_dim]; `modality`, int [B, T], is the place of a token's tower in the names.

        Raises:
            ValueError: it is not known what each token is.
        """
        return by_modality(self.of, x, modality)
