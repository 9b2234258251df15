"""Operations that move, make and choose numbers, and compute nothing: by aten's names.

A test runs each on numbers and sees that all numbers that come out went in, but for those that are made.
"""

from __future__ import annotations

_REPLACED = """
view _unsafe_view t t_ transpose transpose_ permute expand select split unsafe_split split_with_sizes unsqueeze
unsqueeze_ squeeze squeeze_ unfold as_strided alias detach clone copy_ _to_copy cat stack lift_fresh flip rot90
roll repeat constant_pad_nd reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d
replication_pad3d im2col unbind diagonal diag_embed triu triu_ tril tril_ slice_backward select_backward
diagonal_backward select_scatter slice_scatter diagonal_scatter as_strided_scatter masked_fill masked_fill_ where
_foreach_copy_ _reshape_alias pixel_shuffle pixel_unshuffle channel_shuffle block_diag upsample_nearest1d
upsample_nearest2d upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d
complex view_as_real view_as_complex _chunk_cat resize_ resize_as_ set_ lu_unpack alias_copy as_strided_copy
diagonal_copy expand_copy narrow_copy permute_copy squeeze_copy t_copy transpose_copy unbind_copy unfold_copy
unsqueeze_copy view_copy split_copy split_with_sizes_copy slice_copy select_copy _to_sparse _to_dense sparse_mask
_nested_tensor_from_mask to_padded_tensor _nested_from_padded _pack_padded_sequence _to_sparse_csr _to_sparse_csc
_to_sparse_bsr _to_sparse_bsc
"""
"""The same numbers in other places."""

_CHOSEN = """
index gather index_copy index_copy_ index_select index_fill index_fill_ embedding masked_select masked_scatter
masked_scatter_ nonzero sort topk kthvalue median nanmedian mode cummax cummin argmax argmin max_pool2d_with_indices
max_pool3d_with_indices adaptive_max_pool2d adaptive_max_pool3d fractional_max_pool2d fractional_max_pool3d
max_unpool2d max_unpool3d unique_consecutive _unique2 take _unsafe_index _unsafe_masked_index searchsorted bucketize
isin equal isnan isinf is_same_size _local_scalar_dense
"""
"""Some of the numbers, by their places or by comparing them."""

_MADE = """
empty empty_like empty_strided empty_permuted new_empty new_empty_strided zeros zeros_like new_zeros zero_ ones
ones_like new_ones full full_like new_full fill fill_ arange linspace logspace eye scalar_tensor _foreach_zero_
_efficientzerotensor bernoulli bernoulli_ uniform_ normal normal_ log_normal_ cauchy_ geometric_ exponential_ random_
randint randint_like rand randn randperm rand_like randn_like multinomial
"""
"""Constants and random numbers."""

MADE = frozenset(_MADE.split())
MOVED = MADE | frozenset((_REPLACED + _CHOSEN).split())

TRANSPORTS = frozenset({"c10d", "_c10d_functional", "fsdp", "profiler"})
"""Namespaces of operations that carry numbers from process to process, and of marks for profilers."""
