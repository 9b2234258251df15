"""Softmax over the keys of a pattern."""

from __future__ import annotations

from torch import Tensor

from patchword.cache import KeyValueCache, LayerCache
from patchword.config import SparseAttentionConfig, implements
from patchword.nn.mechanisms.base import Mechanism
from patchword.nn.mechanisms.blocked import Scores, blocked_softmax
from patchword.nn.mechanisms.plans import Policy, plans_for
from patchword.nn.positions import Bias
from patchword.sequence import Mask


@implements(SparseAttentionConfig)
class SparseAttention(Mechanism):
    """softmax(scale q k^T + M) v, where M is 0 for the pairs of a pattern and -inf for others; never computed whole.

    A pattern speaks of ranks: places among the real tokens of a document. A key is seen if the pattern, the order
    (`causal`), the `window` and the document all allow it. Padding gets zeros.

    Between two sequences a query of rank r stands at rank floor(r * memory_ratio) of the keys, and the pattern says the
    rest. Nothing there depends on the length of the queries, so that decoding step by step gives the same.
    """

    config: SparseAttentionConfig

    def __init__(self, config: SparseAttentionConfig, head_dim: int) -> None:
        super().__init__(config, head_dim)
        self.pattern = config.pattern.build(config.causal)

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Bias | None = None, cache: LayerCache | None = None
    ) -> Tensor:
        """q [B, H, T, E], k and v [B, G, S, E] -> [B, H, T, E]."""
        if cache is not None:
            assert isinstance(cache, KeyValueCache)
            k, v = cache.write(k, v, mask.start)
        if not q.numel() or not k.numel():
            return (q + k.sum() + v.sum()) * 0.0
        config = self.config
        policy = Policy(config.causal, config.window, config.memory_ratio)
        key = ("sparse", config.pattern, policy, q.shape[:3], q.dtype)
        plans = mask.once(key, lambda: plans_for(mask, self.pattern, policy, q))
        return blocked_softmax(q, k, v, plans, Scores(self.scale))
