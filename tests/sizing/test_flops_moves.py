"""What is said to compute nothing: numbers that come out went in. And over torch's own list of operations, nothing that
makes new numbers counts as nothing unless the ledger has it."""

from __future__ import annotations

import itertools
import sys
import types
import unittest
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from patchword.sizing.flops import work_of
from patchword.sizing.flops.moves import MADE, MOVED
from patchword.sizing.tracing.dispatched import is_composite

aten: Any = torch.ops.aten
_ALWAYS = torch.tensor([0.0, 1.0], dtype=torch.float64)


def floats(tree: Any) -> Tensor:
    """All numbers of dense real tensors, and numbers that are given as such."""
    found = [torch.zeros(0, dtype=torch.float64)]
    for leaf in tree_leaves(tree):
        if isinstance(leaf, Tensor) and leaf.is_nested:
            found += [part.reshape(-1).double() for part in leaf.unbind()]
        elif isinstance(leaf, Tensor) and leaf.layout == torch.strided:
            leaf = torch.view_as_real(leaf.resolve_conj()) if leaf.is_complex() else leaf
            if leaf.is_floating_point():
                found.append(leaf.detach().resolve_neg().reshape(-1).double())
        elif isinstance(leaf, float | int):
            found.append(torch.tensor([leaf], dtype=torch.float64))
    return torch.cat(found)


def new_numbers(before: Tensor, made: Any) -> Tensor:
    after = floats([leaf for leaf in tree_leaves(made) if isinstance(leaf, Tensor)])
    return after[~torch.isin(after, torch.cat([before, _ALWAYS])) & after.isfinite()]


class Watch(TorchDispatchMode):
    """Collects what counts as nothing and makes numbers, what has no formula, and all that it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.silent: set[str] = set()
        self.unknown: set[str] = set()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.namespace == "prim":
            return func(*args, **kwargs)
        before = floats((args, kwargs))
        out = func(*args, **kwargs)
        name = str(func.overloadpacket).removeprefix("aten.")
        self.seen.add(name)
        work = work_of(func, args, kwargs, out)
        if not work.known:
            self.unknown.add(name)
        elif not any(work[:3]) and not func.is_view and name not in MADE and name not in _ROUNDING:
            made = (args, kwargs, out) if func._schema.is_mutable else out
            if len(new_numbers(before, made)):
                self.silent.add(name)
        return out


_ROUNDING = {"_to_copy", "_to_dense"}
"""The same numbers in another type."""

X = torch.rand(2, 3, 4, 5) + 2
AT = torch.tensor([1, 0])
REST: dict[str, Callable[[], Any]] = {
    "_foreach_copy_": lambda: aten._foreach_copy_([X.clone()], [X + 1]),
    "_foreach_zero_": lambda: aten._foreach_zero_([X.clone()]),
    "_reshape_alias": lambda: aten._reshape_alias(X, [6, 20], [20, 1]),
    "_unsafe_index": lambda: aten._unsafe_index(X, [AT]),
    "_upsample_nearest_exact2d": lambda: aten._upsample_nearest_exact2d(X, [7, 3]),
    "_upsample_nearest_exact3d": lambda: aten._upsample_nearest_exact3d(X[None], [5, 7, 3]),
    "upsample_nearest2d": lambda: aten.upsample_nearest2d(X, [7, 3]),
    "upsample_nearest3d": lambda: aten.upsample_nearest3d(X[None], [5, 7, 3]),
    "index_copy_": lambda: aten.index_copy_(X.clone(), 0, AT, X + 1),
    "index_fill_": lambda: aten.index_fill_(X.clone(), 0, AT, 7.5),
    "masked_scatter_": lambda: aten.masked_scatter_(X.clone(), X > 2.5, X + 1),
    "reflection_pad2d": lambda: aten.reflection_pad2d(X, [1, 1, 1, 1]),
    "reflection_pad3d": lambda: aten.reflection_pad3d(X, [1, 1, 1, 1, 1, 1]),
    "replication_pad3d": lambda: aten.replication_pad3d(X, [1, 1, 1, 1, 1, 1]),
    "select_copy": lambda: aten.select_copy(X, 0, 1),
    "slice_copy": lambda: aten.slice_copy(X, 1, 0, 2),
    "split_copy": lambda: aten.split_copy(X, 2, 1),
    "set_": lambda: aten.set_(X.clone(), X),
    "t_": lambda: aten.t_(X[0, 0].clone()),
    "triu_": lambda: aten.triu_(X.clone()),
    "_to_dense": lambda: aten._to_dense(X.to_sparse()),
    "to_padded_tensor": lambda: aten.to_padded_tensor(torch.nested.nested_tensor([X[0, 0], X[0, 1, :2]]), 0.0),
    "_nested_tensor_from_mask": lambda: aten._nested_tensor_from_mask(X[0], torch.ones(3, 4, dtype=torch.bool)),
    "_nested_from_padded": lambda: aten._nested_from_padded(X[0], torch.tensor([[2, 5], [3, 5], [4, 5]])),
    "_pack_padded_sequence": lambda: aten._pack_padded_sequence(X[0], torch.tensor([3, 2, 2, 1]), False),
    "searchsorted": lambda: aten.searchsorted(torch.arange(5.0), X),
    "bucketize": lambda: aten.bucketize(X, torch.arange(5.0)),
    "is_same_size": lambda: aten.is_same_size(X, X),
    "_to_sparse_csr": lambda: aten._to_sparse_csr(X[0, 0]),
    "_to_sparse_csc": lambda: aten._to_sparse_csc(X[0, 0]),
    "_to_sparse_bsr": lambda: aten._to_sparse_bsr(X[0, 0], [2, 1]),
    "_to_sparse_bsc": lambda: aten._to_sparse_bsc(X[0, 0], [2, 1]),
}
"""Those that torch's own samples do not reach."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REST)
def test_what_moves_makes_no_new_numbers(name: str) -> None:
    with Watch() as watch:
        REST[name]()
    assert name in watch.seen
    assert not watch.silent


def test_the_watch_sees_what_computes() -> None:
    doubled = X.clone()
    assert len(new_numbers(floats(X), doubled * 2)) > 0
    assert len(new_numbers(floats(X), X.flip(0))) == 0


def test_every_name_is_an_operation_that_can_be_dispatched() -> None:
    for name in MOVED:
        packet = getattr(aten, name)
        assert not all(is_composite(getattr(packet, each)) for each in packet.overloads()), name


TAGGED = {"argmax", "argmin", "clone", "equal", "masked_fill", "masked_fill_", "where", "fill", "fill_", "zero_"}
TAGGED |= {"triu", "tril", "bernoulli", "isinf", "isnan", "normal", "_to_copy", "copy_"}
"""Torch's tags call these pointwise or reductions, though they only choose, copy or draw."""


def test_nothing_that_torch_tags_as_arithmetic_is_said_to_move() -> None:
    arithmetic = {torch.Tag.pointwise, torch.Tag.reduction}
    for name in MOVED - TAGGED:
        packet = getattr(aten, name)
        found = [name for each in packet.overloads() if arithmetic & set(getattr(packet, each).tags)]
        assert not found


LEDGER = {
    "_ctc_loss", "_ctc_loss_backward", "_histogramdd_bin_edges", "_histogramdd_from_bin_cts",
    "_histogramdd_from_bin_tensors", "_linalg_eigh", "_linalg_svd", "_pdist_backward", "_sparse_mm_reduce_impl",
    "_sparse_mm_reduce_impl_backward", "_upsample_bilinear2d_aa_backward", "histc", "histogram", "linalg_eig",
    "linalg_ldl_factor_ex", "linalg_ldl_solve", "linalg_lstsq", "linalg_matrix_exp",
    "linalg_pinv", "mm", "ormqr", "torch_nn._linear_cross_entropy_batch_chunked",
    "torch_nn._linear_cross_entropy_batch_chunked_no_reduction",
}  # fmt: skip
"""What has no formula among the operations that torch's own samples run; `mm`: of two sparse matrices."""


def own_samples() -> Any:
    """torch's list of its operations with samples; its tests want a package that is of no use here."""
    stand_in: Any = types.ModuleType("expecttest")
    stand_in.TestCase, stand_in.assert_expected_inline = unittest.TestCase, None
    sys.modules.setdefault("expecttest", stand_in)
    from torch.testing._internal.common_methods_invocations import op_db

    return op_db


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_nothing_in_torchs_own_list_is_silently_zero() -> None:
    watch = Watch()
    for entry in own_samples():
        if torch.float32 in entry.dtypes:
            for sample in itertools.islice(_samples(entry), 3):
                _run(entry, sample, watch)
    assert watch.silent == set()
    assert watch.unknown <= LEDGER
    assert len(watch.seen) > 400
    assert watch.seen | set(REST) >= MOVED - MADE


def _samples(entry: Any) -> Any:
    try:
        yield from entry.sample_inputs("cpu", torch.float32, requires_grad=entry.supports_autograd)
    except Exception:
        return


def _run(entry: Any, sample: Any, watch: Watch) -> None:
    """Forward and backward; what fails (no LAPACK, another device) was seen up to there."""
    try:
        with warnings.catch_warnings(), watch:
            warnings.simplefilter("ignore")
            out = entry(sample.input, *sample.args, **sample.kwargs)
            wanted = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor) and leaf.requires_grad]
            real = [leaf for leaf in wanted if leaf.is_floating_point()]
            if real:
                torch.stack([leaf.sum() for leaf in real]).sum().backward()
    except Exception:
        return
