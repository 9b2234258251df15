"""Operations that move, make and choose numbers, and compute nothing."""

from __future__ import annotations

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
MOVED = frozenset(_MOVES.split())
