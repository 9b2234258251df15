"""The difference of two softmax maps, which cancels what both see (Ye et al. 2024)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchword.cache import KeyValueCache, LayerCache
from patchword.config import DifferentialAttentionConfig, implements
from patchword.nn.mechanisms.base import Mechanism
from patchword.nn.mechanisms.softmax import biased
from patchword.nn.positions import Bias
from patchword.sequence import Mask

_EPS = 1e-5


@implements(DifferentialAttentionConfig)
class DifferentialAttention(Mechanism):
    """(1 - first) norm((softmax(scale q1 k1^T) - lambda softmax(scale q2 k2^T)) v), for each pair of heads.

    Query heads i and i + H/2 are a pair, and so are key heads; a pair's values are its two value heads side by side,
    2E wide. lambda = exp(a1 . b1) - exp(a2 . b2) + first, with learned a, b [E] for each pair; norm is RMSNorm over
    2E, its gain shared by all pairs.
    """

    def __init__(self, config: DifferentialAttentionConfig, head_dim: int) -> None:
        super().__init__(config, head_dim)
        self.first, pairs = config.first_lambda, config.num_heads // 2
        self.lambda_q = nn.Parameter(torch.empty(2, pairs, head_dim))
        self.lambda_k = nn.Parameter(torch.empty(2, pairs, head_dim))
        self.gain = nn.Parameter(torch.empty(2 * head_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Lambda near `first_lambda`, as the paper's code starts; a gain of one."""
        nn.init.normal_(self.lambda_q, std=0.1)
        nn.init.normal_(self.lambda_k, std=0.1)
        nn.init.ones_(self.gain)

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Bias | None = None, cache: LayerCache | None = None
    ) -> Tensor:
        """q [B, H, T, E], k and v [B, G, S, E] -> [B, H, T, E]; pair i gives heads 2i and 2i + 1."""
        if cache is not None:
            assert isinstance(cache, KeyValueCache)
            k, v = cache.write(k, v, mask.start)
        out = F.rms_norm(self._look(q, k, v, mask, bias), self.gain.shape, self.gain, _EPS) * (1 - self.first)
        return out.unflatten(-1, (2, -1)).transpose(2, 3).flatten(1, 2)

    def gathered(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Bias | None = None) -> Tensor:
        """Before the norm; both heads of a pair see by the difference of their maps, which may be negative."""
        return self._look(q, k, v, mask, bias)[..., : self.head_dim].repeat(1, 2, 1, 1)

    def _look(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Bias | None) -> Tensor:
        """What the difference of each pair's maps gathers; [B, H / 2, T, 2E]."""
        amount = self._lambda()[:, None, None].to(q.dtype)
        if k.shape[2] == 0:  # nothing to see, but every weight stays in the graph
            return (torch.cat(q.chunk(2, 1), -1) + k.sum() + v.sum() + amount) * 0.0
        policy = (self.config.causal, self.config.window)
        lowered = mask.lower(*policy, q.device)
        added, triangle = mask.additive(*policy, q), lowered.causal
        if bias is not None:
            added, triangle = biased(bias(q * self.scale), added, triangle), False
        if q.shape[2] == 1:  # a triangle of one row hides nothing: keys of a later step are not there yet
            out = self._step(q, k, v, added, amount)
        else:
            seen, doubted = self._fused(q, k, v, added, triangle).chunk(2, 1)
            out = seen - amount * doubted
        return out if lowered.empty is None else out.masked_fill(lowered.empty, 0.0)

    def _lambda(self) -> Tensor:
        """How much of the second map is taken off; [H / 2], in float32 or wider: it is a difference of exponentials."""
        wide = torch.promote_types(self.lambda_q.dtype, torch.float32)
        one, two = (self.lambda_q.to(wide) * self.lambda_k.to(wide)).sum(-1).exp()
        return one - two + self.first

    def _fused(self, q: Tensor, k: Tensor, v: Tensor, added: Tensor | None, triangle: bool) -> Tensor:
        """What each head's own map gathers of its pair's values; [B, H, T, 2E].

        Kernels that never hold the scores want one width for keys and values, so zeros are put behind the keys: at
        2,048 tokens that takes a fifth of the time of the kernel that takes two widths.
        """
        wide = torch.cat(v.chunk(2, 1), -1)
        return F.scaled_dot_product_attention(
            F.pad(q, (0, self.head_dim)),
            F.pad(k, (0, self.head_dim)),
            torch.cat([wide, wide], 1),
            attn_mask=added,
            dropout_p=self._dropout(),
            is_causal=triangle,
            scale=self.scale,
            enable_gqa=self.num_kv_heads != self.num_heads,
        )

    def _step(self, q: Tensor, k: Tensor, v: Tensor, added: Tensor | None, amount: Tensor) -> Tensor:
        """The difference of both maps itself, which one query can hold: keys and values are read as they are."""
        groups = k.shape[1]
        scores = (q.unflatten(1, (groups, -1)).flatten(2, 3) @ k.mT).flatten(1, 2).unflatten(1, (-1, 1)) * self.scale
        weights = F.dropout((scores if added is None else scores + added).softmax(-1), self._dropout())
        seen, doubted = weights.chunk(2, 1)
        apart = (seen - amount * doubted).unflatten(1, (groups // 2, -1)).flatten(2, 3)
        return torch.cat([(apart @ half).flatten(1, 2)[:, :, None] for half in v.chunk(2, 1)], -1)

    def _dropout(self) -> float:
        return self.config.dropout if self.training else 0.0
