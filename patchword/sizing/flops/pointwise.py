"""Norms, softmax and losses: FLOPs an element."""

from __future__ import annotations

from patchword.sizing.flops.registry import Call, Formula, aten, formula, numel
from patchword.sizing.record import Work


def _each(forward: int) -> Formula:
    def count(call: Call) -> Work:
        return Work(vector=forward * numel(call.args))

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
