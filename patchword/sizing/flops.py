"""FLOPs of every operation that our models and torch's common modules run. A multiplication and an addition are two.

A fused attention is counted by the pairs of query and key that it computes: all of them, or those on and below the
diagonal where the kernel knows that it is causal. What has no formula is reported, never taken for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from patchword.sizing.record import Work

aten: Any = torch.ops.aten


class Call(NamedTuple):
    """One operation as it was dispatched."""

    args: Sequence[Any]
    kwargs: dict[str, Any]
    out: Any

    def get(self, index: int, name: str, default: Any) -> Any:
        """An argument, wherever it stands."""
        return self.args[index] if len(self.args) > index else self.kwargs.get(name, default)


Formula = Callable[[Call], Work]

FORMULAS: dict[Any, Formula] = {}

_MOVES = """
view _unsafe_view reshape t transpose permute expand slice select split split_with_sizes unsqueeze squeeze
unfold as_strided alias detach detach_ clone copy_ _to_copy to cat stack empty empty_like empty_strided
new_empty new_empty_strided zeros zeros_like new_zeros zero_ ones ones_like new_ones full full_like new_full
fill_ arange scalar_tensor lift_fresh index gather scatter scatter_ index_put index_put_ index_copy
index_copy_ index_select index_fill index_fill_ embedding masked_select nonzero flip repeat pad
constant_pad_nd im2col unbind diagonal movedim narrow resize_ set_ sort argsort topk argmax argmin
max_pool2d_with_indices triu tril slice_backward select_backward roll contiguous bernoulli_ uniform_ normal_
random_ randint rand randn randperm rand_like randn_like exponential_ eye select_scatter slice_scatter
masked_fill masked_fill_ where _foreach_copy_ _foreach_zero_ diff is_same_size sym_size _local_scalar_dense
equal isin one_hot bincount _reshape_alias split_copy _unsafe_index new_tensor isnan isfinite isinf
"""
"""Moving, making and choosing numbers: no arithmetic. Names of aten's own."""
_MOVED = frozenset(_MOVES.split())


def work_of(func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> Work:
    """The work of one dispatched operation; unknown where no formula stands for it and it makes real numbers."""
    packet = func.overloadpacket
    formula = FORMULAS.get(packet)
    if formula is not None:
        return formula(Call(args, kwargs, out))
    name = str(packet).removeprefix("aten.")
    if func.is_view or name in _MOVED or not _makes_numbers(out):
        return Work()
    if torch.Tag.pointwise in func.tags:
        return Work(vector=_numel(out))
    if torch.Tag.reduction in func.tags:
        return Work(vector=max(_numel(args), _numel(out)))
    if name.startswith("_foreach"):
        return Work(vector=_numel(args[0]))
    return Work(known=False)


def _makes_numbers(out: Any) -> bool:
    return any(isinstance(leaf, Tensor) and leaf.is_floating_point() for leaf in tree_leaves(out))


def _numel(tree: Any) -> int:
    """Numbers in the largest tensor."""
    return max((leaf.numel() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)), default=0)


def formula(*packets: Any) -> Callable[[Formula], Formula]:
    """Enter a formula for these operations."""

    def enter(function: Formula) -> Formula:
        for packet in packets:
            FORMULAS[packet] = function
        return function

    return enter


# ------------------------------------------------------------------ products


@formula(aten.mm, aten.bmm, aten.mv, aten.dot, aten.vdot)
def _product(call: Call) -> Work:
    return Work(matmul=2 * call.out.numel() * call.args[0].shape[-1])


@formula(aten.addmm, aten.baddbmm, aten.addmv, aten.baddbmm_, aten.addmm_)
def _added_product(call: Call) -> Work:
    return Work(matmul=2 * call.out.numel() * call.args[1].shape[-1], vector=call.out.numel())


@formula(aten.linear)
def _linear(call: Call) -> Work:
    bias = call.get(2, "bias", None) is not None
    return Work(matmul=2 * call.out.numel() * call.args[0].shape[-1], vector=call.out.numel() if bias else 0)


@formula(aten._grouped_mm)
def _grouped(call: Call) -> Work:
    return Work(matmul=2 * call.args[0].shape[0] * call.args[0].shape[-1] * call.args[1].shape[-1])


@formula(aten._cdist_forward)
def _distances(call: Call) -> Work:
    return Work(vector=3 * call.out.numel() * call.args[0].shape[-1])


# ------------------------------------------------------------------ convolutions


def _convolution_pairs(small: Any, weight: Any) -> int:
    """Products of one number with one weight: each place of the map without stride meets each weight of its group."""
    return small.shape[0] * prod(small.shape[2:]) * weight.numel()


@formula(aten.convolution, aten._convolution, aten.mkldnn_convolution, aten.cudnn_convolution)
def _convolution(call: Call) -> Work:
    x, weight, bias, transposed = call.args[0], call.args[1], call.args[2], call.args[6]
    pairs = _convolution_pairs(x if transposed else call.out, weight)
    return Work(matmul=2 * pairs, vector=call.out.numel() if bias is not None else 0)


@formula(aten.convolution_backward)
def _convolution_backward(call: Call) -> Work:
    grad, x, weight, transposed, mask = call.args[0], call.args[1], call.args[2], call.args[7], call.args[10]
    pairs = _convolution_pairs(x if transposed else grad, weight)
    return Work(matmul=2 * pairs * (bool(mask[0]) + bool(mask[1])), vector=grad.numel() if mask[2] else 0)


# ------------------------------------------------------------------ fused attention


def seen_pairs(q: Any, k: Any, causal: bool) -> int:
    """Pairs of query and key that a kernel computes; with `causal`, on and below the diagonal from the top left."""
    heads, queries, keys = prod(q.shape[:-2]), q.shape[-2], k.shape[-2]
    if not causal:
        return heads * queries * keys
    full = min(queries, keys)
    return heads * (full * (full + 1) // 2 + max(queries - keys, 0) * keys)


def _attention(q: Any, k: Any, v: Any, causal: bool) -> Work:
    pairs = seen_pairs(q, k, causal)
    return Work(matmul=2 * pairs * (q.shape[-1] + v.shape[-1]), vector=5 * pairs)


@formula(aten._scaled_dot_product_flash_attention_for_cpu)
def _flash_cpu(call: Call) -> Work:
    causal = call.get(4, "is_causal", False)
    return _attention(call.args[0], call.args[1], call.args[2], causal)


@formula(aten._scaled_dot_product_flash_attention)
def _flash(call: Call) -> Work:
    causal = call.get(4, "is_causal", False)
    return _attention(call.args[0], call.args[1], call.args[2], causal)


@formula(aten._scaled_dot_product_efficient_attention)
def _efficient(call: Call) -> Work:
    causal = call.get(6, "is_causal", False)
    return _attention(call.args[0], call.args[1], call.args[2], causal)


def _attention_backward(q: Any, k: Any, v: Any, causal: bool) -> Work:
    """Four products: gradients of values, weights, queries and keys. The kernel computes scores again beside."""
    pairs = seen_pairs(q, k, causal)
    return Work(matmul=4 * pairs * (q.shape[-1] + v.shape[-1]), vector=8 * pairs)


@formula(aten._scaled_dot_product_flash_attention_for_cpu_backward)
def _flash_cpu_backward(call: Call) -> Work:
    return _attention_backward(call.args[1], call.args[2], call.args[3], call.args[7])


@formula(aten._scaled_dot_product_flash_attention_backward)
def _flash_backward(call: Call) -> Work:
    return _attention_backward(call.args[1], call.args[2], call.args[3], call.args[11])


# ------------------------------------------------------------------ norms, softmax, losses: FLOPs an element


def _each(forward: int) -> Formula:
    def count(call: Call) -> Work:
        return Work(vector=forward * _numel(call.args))

    return count


_EACH = {
    1: """amax amin max min cumsum cumprod logcumsumexp norm var _log_softmax embedding_dense_backward
          index_add index_add_ scatter_add scatter_add_ nll_loss_forward nll_loss_backward native_dropout
          native_dropout_backward elu_backward upsample_bilinear2d avg_pool2d avg_pool2d_backward _adaptive_avg_pool2d
          _adaptive_avg_pool2d_backward max_pool2d_with_indices_backward""",
    2: "linalg_vector_norm logsumexp var_mean addcmul addcdiv",
    4: "_softmax _softmax_backward_data _log_softmax_backward_data _fused_rms_norm",
    7: "native_layer_norm native_group_norm native_batch_norm _fused_rms_norm_backward",
    11: "native_layer_norm_backward native_group_norm_backward native_batch_norm_backward",
}
for _flops, _names in _EACH.items():
    formula(*(getattr(aten, name) for name in _names.split()))(_each(_flops))


@formula(aten._fused_adamw_, aten._fused_adam_)
def _fused_adamw(call: Call) -> Work:
    return Work(vector=14 * sum(p.numel() for p in call.args[0]))
