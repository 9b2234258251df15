"""Norms, softmax, pools and losses: FLOPs an element of the largest tensor that goes in or comes out.

An elementary function (exp, tanh, a root) counts as one. What torch tags as pointwise or as a reduction needs no entry:
it counts one for each number that is made, or taken in.
"""

from __future__ import annotations

from patchword.sizing.flops.registry import Call, Formula, aten, formula, named, numel, products, total
from patchword.sizing.tracing.record import Work

_ONE = """
amax amin max min cumsum cumsum_ cumprod logcumsumexp norm var _log_softmax embedding_dense_backward index_add
index_add_ scatter_add scatter_add_ scatter_reduce scatter_reduce_ index_reduce index_reduce_ nll_loss_forward
nll_loss_backward nll_loss2d_forward nll_loss2d_backward native_dropout native_dropout_backward masked_scatter_backward
elu_backward leaky_relu_backward hardtanh_backward hardsigmoid_backward hardshrink_backward softshrink_backward
hardswish _prelu_kernel _prelu_kernel_backward rrelu_with_noise rrelu_with_noise_backward rsub floor_divide addr trace
avg_pool2d avg_pool2d_backward avg_pool3d avg_pool3d_backward _adaptive_avg_pool2d _adaptive_avg_pool2d_backward
_adaptive_avg_pool3d _adaptive_avg_pool3d_backward max_pool2d_with_indices_backward max_pool3d_with_indices_backward
adaptive_max_pool2d_backward adaptive_max_pool3d_backward fractional_max_pool2d_backward fractional_max_pool3d_backward
upsample_nearest1d_backward upsample_nearest2d_backward upsample_nearest3d_backward _upsample_nearest_exact1d_backward
_upsample_nearest_exact2d_backward _upsample_nearest_exact3d_backward reflection_pad1d_backward
reflection_pad2d_backward reflection_pad3d_backward replication_pad1d_backward replication_pad2d_backward
replication_pad3d_backward col2im unfold_backward _unsafe_masked_index_put_accumulate polar linalg_cross
segment_reduce _segment_reduce_backward
"""
_TWO = """
linalg_vector_norm logsumexp var_mean addcmul addcdiv glu log_sigmoid_forward hardswish_backward mse_loss
mse_loss_backward smooth_l1_loss smooth_l1_loss_backward huber_loss huber_loss_backward softplus_backward
log_sigmoid_backward dist renorm soft_margin_loss soft_margin_loss_backward multi_margin_loss multi_margin_loss_backward
multilabel_margin_loss_forward multilabel_margin_loss_backward
"""
_EACH = {
    1: _ONE,
    2: _TWO,
    3: "upsample_linear1d upsample_linear1d_backward _weight_norm_interface _weight_norm_interface_backward",
    4: """_softmax _softmax_backward_data _safe_softmax _log_softmax_backward_data _fused_rms_norm glu_backward
          binary_cross_entropy binary_cross_entropy_backward binary_cross_entropy_with_logits mish_backward""",
    7: """native_layer_norm native_group_norm native_batch_norm _native_batch_norm_legit _batch_norm_with_update
          _native_batch_norm_legit_no_training cudnn_batch_norm _fused_rms_norm_backward
          upsample_bilinear2d upsample_bilinear2d_backward""",
    11: """native_layer_norm_backward native_group_norm_backward native_batch_norm_backward batch_norm_backward
           cudnn_batch_norm_backward grid_sampler_2d grid_sampler_2d_backward""",
    15: "upsample_trilinear3d upsample_trilinear3d_backward",
    23: "grid_sampler_3d grid_sampler_3d_backward",
    35: "upsample_bicubic2d upsample_bicubic2d_backward",
}


def _each(flops: int) -> Formula:
    def count(call: Call) -> Work:
        return Work(vector=flops * max(numel((call.args, call.kwargs)), numel(call.out)))

    return count


for _flops, _names in _EACH.items():
    formula(*named(aten, _names))(_each(_flops))


@formula(aten.index_put, aten.index_put_, aten._index_put_impl_)
def _put_at(call: Call) -> Work:
    """Numbers are moved, or added to those that are there."""
    return Work(vector=call["values"].numel() if call["accumulate"] else 0)


@formula(aten.put, aten.put_)
def _put(call: Call) -> Work:
    return Work(vector=call["source"].numel() if call["accumulate"] else 0)


@formula(aten.scatter, aten.scatter_)
def _scatter(call: Call) -> Work:
    return Work(vector=call["index"].numel() if "reduce" in call else 0)


@formula(aten._embedding_bag, aten._embedding_bag_forward_only)
def _bag(call: Call) -> Work:
    weighted = call["per_sample_weights"] is not None
    return Work(vector=(2 if weighted else 1) * call["indices"].numel() * call["weight"].shape[-1])


@formula(aten._embedding_bag_backward, aten._embedding_bag_dense_backward)
def _bag_backward(call: Call) -> Work:
    return Work(vector=call["indices"].numel() * call["grad"].shape[-1])


@formula(aten._embedding_bag_per_sample_weights_backward)
def _bag_of_weights_backward(call: Call) -> Work:
    return Work(vector=2 * call["indices"].numel() * call["grad"].shape[-1])


@formula(aten._upsample_bilinear2d_aa, aten._upsample_bicubic2d_aa)
def _antialiased(call: Call) -> Work:
    """Along each side, a number that is made meets as many as it covers, times the filter's reach on both sides."""
    x, out, reach = call.args[0], call.out, 1 if "bilinear" in str(call.func) else 2
    flops, rows = 0, x.shape[-2]
    for before, after, beside in ((x.shape[-1], out.shape[-1], rows), (rows, out.shape[-2], out.shape[-1])):
        taps = 2 * reach * max(-(-before // max(after, 1)), 1)
        flops += 2 * taps * after * beside * x.shape[0] * x.shape[1]
    return Work(vector=flops)


@formula(aten._pdist_forward)
def _pairs(call: Call) -> Work:
    return Work(vector=3 * call.out.numel() * call.args[0].shape[-1])


@formula(aten.sparse_sampled_addmm)
def _sampled(call: Call) -> Work:
    """A product of which only the places of a sparse matrix are asked for."""
    return products(2 * call["self"]._nnz() * call["mat1"].shape[-1], 2 * call["self"]._nnz())


@formula(aten._foreach_addcmul, aten._foreach_addcmul_, aten._foreach_addcdiv, aten._foreach_addcdiv_)
def _two_and_a_sum(call: Call) -> Work:
    return Work(vector=3 * total(call.args[0]))


@formula(aten._foreach_lerp, aten._foreach_lerp_)
def _between(call: Call) -> Work:
    return Work(vector=3 * total(call.args[0]))


@formula(aten._foreach_norm)
def _norms(call: Call) -> Work:
    return Work(vector=2 * total(call.args[0]))
