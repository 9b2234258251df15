"""Exact attention: softmax(scale q k^T) v, through torch's fused kernels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from patchword.cache import KeyValueCache, LayerCache
from patchword.config import SoftmaxAttentionConfig, implements
from patchword.nn.mechanisms.base import Mechanism
from patchword.nn.mechanisms.blocked import Scores
from patchword.nn.mechanisms.flex import Sizes, flex_softmax, suits
from patchword.nn.mechanisms.near import is_short, near_softmax
from patchword.nn.mechanisms.plans import Policy
from patchword.nn.positions import Bias, Constant
from patchword.sequence import Mask, has_no_values


@implements(SoftmaxAttentionConfig)
class SoftmaxAttention(Mechanism):
    """Scaled dot-product attention (Vaswani et al. 2017); n^2 in time, n in memory where a fused kernel runs.

    Where a window is short against the length, only the keys in it are gathered: n.w. Padding then gets zeros.
    Long sequences on CUDA go through FlexAttention where their mask is more than a flag (`flex`).
    """

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Bias | None = None, cache: LayerCache | None = None
    ) -> Tensor:
        """q [B, H, T, E], k and v [B, G, S, E] -> [B, H, T, E]."""
        if cache is not None:
            assert isinstance(cache, KeyValueCache)
            k, v = cache.write(k, v, mask.start)
        if k.shape[2] == 0:  # every weight stays in the graph: ranks without pictures must reduce too
            return (q + k.sum() + v.sum()) * 0.0
        policy, dropout = Policy(self.config.causal, self.config.window), self.config.dropout if self.training else 0.0
        if bias is None and cache is None and not dropout and self._in_blocks(q, k, mask, policy):
            return flex_softmax(q, k, v, mask, policy, self.scale)
        if self.config.window is not None and bias is None and is_short(self.config.window, self.config.causal, q, k):
            return near_softmax(q, k, v, mask, policy, Scores(self.scale, dropout))
        lowered = mask.lower(*policy[:2], q.device)
        added, triangle = None if lowered.see is None else mask.additive(*policy[:2], q), lowered.causal
        if bias is not None:
            added, triangle = self._biased(q, bias, mask, added, triangle), False
        out = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=added,
            dropout_p=dropout,
            is_causal=triangle,
            scale=self.scale,
            enable_gqa=self.num_kv_heads != self.num_heads,
        )
        return out if lowered.empty is None else out.masked_fill(lowered.empty, 0.0)

    def _in_blocks(self, q: Tensor, k: Tensor, mask: Mask, policy: Policy) -> bool:
        """Whether FlexAttention computes this; never what is only sized, traced or exported."""
        if q.numel() == 0 or has_no_values(q) or torch.compiler.is_compiling():
            return False
        return suits(mask, policy, Sizes(q.shape[2], k.shape[2], self.head_dim, q.dtype), q.device)

    def _biased(self, q: Tensor, bias: Bias, mask: Mask, added: Tensor | None, triangle: bool) -> Tensor:
        """A bias and a mask as one term; one for all layers where neither queries nor gradients change it."""
        if not isinstance(bias, Constant) or bias.values.requires_grad:
            return biased(bias(q * self.scale), added, triangle)
        key = (bias, self.config.causal, self.config.window, q.dtype)
        return mask.once(key, lambda: biased(bias(q), added, triangle))


def biased(bias: Tensor, added: Tensor | None, triangle: bool) -> Tensor:
    """What to add to scores: a bias [B or 1, H or 1, T, S] and a mask, or the lower triangle, as -inf."""
    if triangle:
        above = torch.ones(bias.shape[-2:], dtype=torch.bool, device=bias.device).triu(1)
        return bias.masked_fill(above, float("-inf"))
    return bias if added is None else bias + added
