"""One attention layer: projections, grouped heads, positions and cache. The arithmetic is the mechanism's."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from patchword.cache import LayerCache, MemoryCache
from patchword.config import AttentionConfig
from patchword.nn.positions import Bias, Turn
from patchword.sequence import Mask


class View(NamedTuple):
    """What an attention layer looks at, made once for all layers of a stack."""

    mask: Mask
    """Who may see whom."""
    rotation: Turn | None = None
    """How queries and keys are turned."""
    bias: Bias | None = None
    """What is added to scores."""
    memory: Tensor | None = None
    """The tokens that are looked at, [B', S, memory_dim]; None: the queries' own sequence. B' divides B."""


class Attention(nn.Module):
    """Tokens look at their own sequence, or at a memory.

    Args:
        config: the mechanism and what all mechanisms share.
        dim: width of the tokens that look (D).
        memory_dim: width of the tokens that are looked at; None: the layer looks at its own sequence.
    """

    def __init__(self, config: AttentionConfig, dim: int, memory_dim: int | None = None) -> None:
        super().__init__()
        self.cross = memory_dim is not None
        self.num_heads = config.num_heads
        self.num_kv_heads = config.num_kv_heads or config.num_heads
        self.head_dim = config.width(dim)
        source = memory_dim if memory_dim is not None else dim
        queries, keys = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
        self.q_proj = config.projection.build(dim, queries, config.bias)
        self.k_proj = config.projection.build(source, keys, config.bias) if not config.shares_qk else None
        self.v_proj = config.projection.build(source, keys, config.bias)
        self.out_proj = config.projection.build(queries, dim, config.out_bias)
        self.gate_proj = config.projection.build(dim, queries, config.bias) if config.gate else None
        norm = config.qk_norm
        self.q_norm = norm.build(self.head_dim) if norm is not None else None
        self.k_norm = norm.build(self.head_dim) if norm is not None and not config.shares_qk else None
        self.mechanism = config.build(self.head_dim)

    def forward(self, x: Tensor, view: View, cache: LayerCache | MemoryCache | None = None) -> Tensor:
        """[B, T, D] -> [B, T, D].

        Raises:
            ValueError: packed documents and a mechanism that cannot keep them apart.
        """
        can, kind = self.mechanism.config.can, self.mechanism.config.kind
        if view.mask.queries.segment is not None and "segment" not in can:
            raise ValueError(f"{kind} attention cannot keep packed documents apart")
        if view.bias is not None and "bias" not in can:
            raise ValueError(f"{kind} attention cannot add a bias to its scores")
        modality = view.mask.queries.modality
        q = self._queries(x, view)
        k, v = self._keys_and_values(x, view, cache, q)
        own = None if self.cross else cache
        fold = self._fold(q, k)
        out = _unfolded(self.mechanism(_folded(q, fold), k, v, view.mask, view.bias, own), fold)
        out = out.transpose(1, 2).flatten(2)
        if self.gate_proj is not None:
            out = out * self.gate_proj(x, modality).sigmoid()
        return self.out_proj(out, modality)

    def _heads(self, x: Tensor, count: int) -> Tensor:
        return x.view(*x.shape[:2], count, self.head_dim).transpose(1, 2)

    def _queries(self, x: Tensor, view: View) -> Tensor:
        q = self._heads(self.q_proj(x, view.mask.queries.modality), self.num_heads)
        if self.q_norm is not None:
            q = self.q_norm(q)
        return q if view.rotation is None else view.rotation(q)

    def _keys_and_values(
        self, x: Tensor, view: View, cache: LayerCache | MemoryCache | None, q: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.cross and isinstance(cache, MemoryCache) and cache.k is not None and cache.v is not None:
            return cache.k, cache.v
        source = view.memory if self.cross else x
        assert source is not None
        modality = None if self.cross else view.mask.queries.modality
        v = self._heads(self.v_proj(source, modality), self.num_kv_heads)
        if self.k_proj is None:
            k = q
        else:
            k = self._heads(self.k_proj(source, modality), self.num_kv_heads)
            if self.k_norm is not None:
                k = self.k_norm(k)
            if view.rotation is not None:
                k = view.rotation(k)
        if isinstance(cache, MemoryCache):
            k, v = k.contiguous(), v.contiguous()  # read at every step: one piece a head is read thrice as fast
            cache.k, cache.v = k, v
        return k, v

    def share(self, first: Attention) -> None:
        """Take over what all layers of a stack have in common from the first's."""
        self.mechanism.share(first.mechanism)

    def new_cache(self, batch: int, max_len: int, like: Tensor, static: bool) -> LayerCache | MemoryCache:
        """What decoding remembers of this layer."""
        return MemoryCache() if self.cross else self.mechanism.new_cache(batch, max_len, like, static)

    def _fold(self, q: Tensor, k: Tensor) -> int:
        """How many beams of one sample share its memory: they become more queries of the same row."""
        return q.shape[0] // max(k.shape[0], 1) if self.cross else 1

    def weights(self, x: Tensor, view: View) -> Tensor:
        """How much each token takes of each other, for pictures and study; [B, H, T, S].

        What the mechanism itself gives them: of sparse kinds zero outside their pattern, of linear ones by their
        features, of pooled keys and differences of maps possibly negative. Rows that may see nothing are zero.
        """
        q = self._queries(x, view)
        k, _ = self._keys_and_values(x, view, None, q)
        fold = self._fold(q, k)
        return _unfolded(self.mechanism.weights(_folded(q, fold), k, view.mask, view.bias), fold)


def _folded(q: Tensor, fold: int) -> Tensor:
    """[B, H, T, E] -> [B / fold, H, fold * T, E]."""
    return q if fold <= 1 else q.unflatten(0, (-1, fold)).transpose(1, 2).flatten(2, 3)


def _unfolded(out: Tensor, fold: int) -> Tensor:
    """And back."""
    return out if fold <= 1 else out.unflatten(2, (fold, -1)).transpose(1, 2).flatten(0, 1)
