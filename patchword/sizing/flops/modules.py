"""Whole modules that torch runs as one operation where no gradients are wanted."""

from __future__ import annotations

from typing import Any, NamedTuple

from patchword.sizing.flops.registry import Call, aten, formula
from patchword.sizing.tracing.record import Work


class _Tokens(NamedTuple):
    """A batch of sequences, of one length or of several."""

    real: int
    """Tokens of all rows."""
    rows: int
    length: int
    """Of the longest, to which a ragged batch is padded for its scores."""

    @classmethod
    def of(cls, x: Any) -> _Tokens:
        if x.is_nested:
            lengths = x._nested_tensor_size()[:, 0].tolist()
            return cls(sum(lengths), len(lengths), max(lengths, default=0))
        return cls(x.shape[0] * x.shape[1], x.shape[0], x.shape[1])


def _attention(queries: _Tokens, keys: _Tokens, dim: int) -> int:
    """Maps of queries, keys, values and results, scores and weighted values."""
    maps = 2 * dim * dim * (2 * queries.real + 2 * keys.real)
    return maps + 4 * queries.rows * queries.length * keys.length * dim


@formula(aten._native_multi_head_attention)
def _multi_head(call: Call) -> Work:
    queries, keys, dim = _Tokens.of(call["query"]), _Tokens.of(call["key"]), call["embed_dim"]
    flops = _attention(queries, keys, dim)
    pairs = queries.rows * call["num_head"] * queries.length * keys.length
    return Work(flops, flops, 5 * pairs + dim * (2 * queries.real + 2 * keys.real))


@formula(aten._triton_multi_head_attention)
def _triton(call: Call) -> Work:
    return _multi_head(call)


@formula(aten._transformer_encoder_layer_fwd)
def _encoder_layer(call: Call) -> Work:
    tokens, dim, hidden = _Tokens.of(call["src"]), call["embed_dim"], call["ffn_weight_1"].shape[0]
    flops = _attention(tokens, tokens, dim) + 4 * tokens.real * dim * hidden
    pairs = tokens.rows * call["num_heads"] * tokens.length**2
    norms, sums, biases = 2 * 7 * dim, 2 * dim, 5 * dim + 2 * hidden
    return Work(flops, flops, 5 * pairs + tokens.real * (norms + sums + biases))
