"""Attention to a few learned mixtures of the keys: linear in length (Wang et al. 2020)."""

from __future__ import annotations

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from patchword.cache import LayerCache
from patchword.config import LinformerAttentionConfig, UserError, implements
from patchword.nn.mechanisms.base import Mechanism
from patchword.nn.positions import Bias
from patchword.sequence import Mask


class LinformerCostWarning(UserWarning):
    """Keys are pooled to no fewer rows than there are: full attention is exact and costs less."""


@implements(LinformerAttentionConfig)
class LinformerAttention(Mechanism):
    """softmax(scale q (P^T k)^T) (R^T v), with learned maps P and R [max_len, pooled_len] along the length.

    Row i of a map belongs to the i-th real key, wherever padding stands; a shorter sequence uses the first rows.
    """

    k_map: nn.Parameter
    v_map: nn.Parameter

    def __init__(self, config: LinformerAttentionConfig, head_dim: int) -> None:
        super().__init__(config, head_dim)
        heads = (config.num_heads,) if config.sharing == "none" else ()
        self.max_len, self.pooled_len, self.shared = config.max_len, config.pooled_len, config.sharing == "layerwise"
        self.k_map = nn.Parameter(torch.empty(*heads, config.max_len, config.pooled_len))
        own = config.sharing in ("none", "headwise")
        self.v_map = nn.Parameter(torch.empty_like(self.k_map)) if own else self.k_map
        self.warns = True
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform with variance 1 / (3 pooled_len), as the public implementation starts."""
        bound = self.pooled_len**-0.5
        for weight in (self.k_map, self.v_map):
            nn.init.uniform_(weight, -bound, bound)

    def share(self, first: Mechanism) -> None:
        """Use the first layer's map where all layers have one; only the first speaks of the cost."""
        assert isinstance(first, type(self))
        self.warns = False
        if self.shared:
            self.k_map, self.v_map = first.k_map, first.v_map

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, bias: Bias | None = None, cache: LayerCache | None = None
    ) -> Tensor:
        """q [B, H, T, E], k and v [B, G, S, E] -> [B, H, T, E].

        Raises:
            UserError: more than `max_len` real keys.
        """
        k, v = self._by_rank(k, v, mask.keys.valid)
        if self.warns and self.pooled_len >= k.shape[2] > 0 and not torch.compiler.is_compiling():
            self._warn(k.shape[2])
        k, v = self._pool(k, self.k_map), self._pool(v, self.v_map)  # no real keys: zeros, and so is what is gathered
        dropout = self.config.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, scale=self.scale, enable_gqa=k.shape[1] != self.num_heads
        )

    def _by_rank(self, k: Tensor, v: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """Real keys in front, zeros behind; no more than `max_len` of them."""
        length = k.shape[2]
        if valid is None:
            self._check(length)
            return k, v
        count = valid.sum(-1, keepdim=True)
        room = min(length, self.max_len)
        if length > room and count.numel():
            self._check(int(count.max()))
        place = valid.long().sort(dim=-1, descending=True, stable=True).indices[:, :room]
        behind = torch.arange(room, device=k.device) >= count
        index = place[:, None, :, None].expand(*k.shape[:2], room, k.shape[3])
        empty = behind[:, None, :, None]
        return k.gather(2, index).masked_fill(empty, 0.0), v.gather(2, index).masked_fill(empty, 0.0)

    def _check(self, count: int) -> None:
        if count > self.max_len:
            raise UserError(
                f"linformer attention was made for {self.max_len} keys, {count} are there: shorten the input, "
                "or enlarge max_len"
            )

    def _pool(self, x: Tensor, pooling: Tensor) -> Tensor:
        """[B, G, S, E] -> [B, G, pooled_len, E]; G becomes H where each head has a map of its own."""
        rows = pooling[..., : x.shape[2], :].mT
        if pooling.ndim == 3:
            return rows @ x.repeat_interleave(self.num_heads // self.num_kv_heads, 1)
        wide = x.transpose(1, 2).flatten(2)  # as it was projected, all heads side by side: one product, no copy
        return torch.bmm(rows.expand(x.shape[0], -1, -1), wide).unflatten(2, x.shape[1::2]).transpose(1, 2)

    def _warn(self, count: int) -> None:
        self.warns = False
        warnings.warn(
            f"linformer attention pools {count} keys to {self.pooled_len} rows: with no fewer rows than keys, "
            "softmax attention costs less",
            LinformerCostWarning,
            stacklevel=2,
        )
