"""Public versions of the mechanisms, as functions of queries, keys and values [1, H, n, E]."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


class Peer(NamedTuple):
    """One public version."""

    name: str
    ours: str
    """The name of what it is compared with."""
    make: Callable[[int, int, int], Attend]
    """Of length, heads, width of a head."""
    most: int = 16_384
    """Longest sequence that it is given: some take a minute beyond."""


def _local(length: int, heads: int, head_dim: int) -> Attend:
    from local_attention import LocalAttention

    layer = LocalAttention(window_size=256, causal=True, exact_windowsize=True, autopad=True, use_rotary_pos_emb=False)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return layer(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1))

    return attend


def _performer(causal: bool) -> Callable[[int, int, int], Attend]:
    def make(length: int, heads: int, head_dim: int) -> Attend:
        from performer_pytorch import FastAttention

        with contextlib.redirect_stdout(io.StringIO()):  # it tells of the CUDA code that it lacks
            return FastAttention(head_dim, nb_features=128, causal=causal)

    return make


def _linear(causal: bool) -> Callable[[int, int, int], Attend]:
    def make(length: int, heads: int, head_dim: int) -> Attend:
        from performer_pytorch.performer_pytorch import causal_linear_attention_noncuda, linear_attention

        attention = causal_linear_attention_noncuda if causal else linear_attention

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return attention(torch.nn.functional.elu(q) + 1, torch.nn.functional.elu(k) + 1, v)

        return attend

    return make


def _reformer(length: int, heads: int, head_dim: int) -> Attend:
    from reformer_pytorch import LSHAttention

    layer = LSHAttention(bucket_size=64, n_hashes=4, causal=True, return_attn=False)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return layer(q.flatten(0, 1), v.flatten(0, 1))[0]

    return attend


def _linformer(length: int, heads: int, head_dim: int) -> Attend:
    """Its own lines between the projections, which ours does not have here either."""
    rows = 128
    maps = [(torch.randn(length, rows) * length**-0.5).requires_grad_() for _ in range(2)]  # learned, as ours

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        flat = (x.transpose(1, 2).flatten(2) for x in (k, v))
        pooled = [torch.einsum("bnd,nk->bkd", x, pool) for x, pool in zip(flat, maps, strict=True)]
        keys, values = (x.reshape(1, rows, heads, head_dim).transpose(1, 2) for x in pooled)
        dots = torch.einsum("bhnd,bhkd->bhnk", q, keys) * head_dim**-0.5
        return torch.einsum("bhnk,bhkd->bhnd", dots.softmax(-1), values)

    return attend


def _topk(length: int, heads: int, head_dim: int) -> Attend:
    from x_transformers.attend import Attend as XAttend

    layer = XAttend(causal=True, sparse_topk=32, heads=heads)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return layer(q, k, v)[0]

    return attend


PEERS = (
    Peer("local-attention", "sparse, local 256", _local),
    Peer("performer-pytorch, elu features", "linear", _linear(causal=True), 2048),
    Peer("performer-pytorch", "performer, 128 features", _performer(causal=True), 2048),
    Peer("performer-pytorch, elu features, not causal", "linear, not causal", _linear(causal=False)),
    Peer("performer-pytorch, not causal", "performer, not causal", _performer(causal=False)),
    Peer("linformer", "linformer, 128 rows", _linformer),
    Peer("reformer-pytorch", "reformer", _reformer, 4096),
    Peer("x-transformers, sparse top-k", "topk, 32 keys", _topk, 2048),
)
