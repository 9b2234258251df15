"""Attention with fixed (or learned) kernel features."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from patchword.config import LinearAttentionConfig, implements
from patchword.nn.mechanisms.kernel import KernelAttention
from patchword.nn.mechanisms.sums import SumCache

_FEATURES: dict[str, Callable[[Tensor], Tensor]] = {
    "elu": lambda x: F.elu(x).add_(1.0),
    "relu": F.relu,
    "softmax": lambda x: x.softmax(-1),
}


@implements(LinearAttentionConfig)
class LinearAttention(KernelAttention):
    """phi(x) = elu(x) + 1 (Katharopoulos et al. 2020), relu(x), or softmax over the features (Shen et al. 2021).

    With `feature_dim`, of a learned map of queries and another of keys (E -> F, no offset, one for all heads).
    """

    def __init__(self, config: LinearAttentionConfig, head_dim: int) -> None:
        num_features = config.feature_dim or head_dim
        super().__init__(config, head_dim, num_features, config.chunk, config.eps)
        self.phi = _FEATURES[config.feature]
        learned = config.feature_dim is not None
        self.q_map = nn.Linear(head_dim, num_features, bias=False) if learned else None
        self.k_map = nn.Linear(head_dim, num_features, bias=False) if learned else None

    def features(self, q: Tensor, k: Tensor, seen: Tensor | None, cache: SumCache | None) -> tuple[Tensor, Tensor]:
        """phi of queries [B, H, T, F] and of keys [B, G, S, F]."""
        q, k = (
            x if each is None else F.linear(x, each.weight.to(x.dtype))
            for x, each in ((q, self.q_map), (k, self.k_map))
        )
        return self.phi(q), self.phi(k)
