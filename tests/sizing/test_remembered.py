"""Remembered operations give what torch's own stand-ins give, and tensors without contents share what real ones do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from patchword.sizing.tracing.facts import MOST, Facts

CASES: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "product": lambda x, w: x @ w,
    "turned": lambda x, w: (x.transpose(0, 1) + 1).mT,
    "split": lambda x, w: x.split([1, 2], 0)[1] * 2,
    "normed": lambda x, w: F.layer_norm(x, (8,), w[0], None),
    "picked": lambda x, w: x[:, 1::2],
    "same": lambda x, w: x.contiguous(),
    "spread": lambda x, w: x[:1].expand(5, -1, -1) * w[:4],
    "chosen": lambda x, w: x.topk(2, -1),
    "attention": lambda x, w: F.scaled_dot_product_attention(x[None], x[None], x[None], is_causal=True),
    "wide": lambda x, w: x.double() @ w.double(),
    "nothing": lambda x, w: x[:0] @ w,
}


def shape(out: Any) -> Any:
    every = [out] if isinstance(out, Tensor) else list(out)
    return [(t.shape, t.stride(), t.dtype, t.device, t.storage_offset()) for t in every]


@pytest.mark.parametrize("name", CASES)
def test_shapes_are_those_of_real_tensors(name: str) -> None:
    real = CASES[name](torch.randn(3, 4, 8), torch.randn(8, 8))
    with FakeTensorMode() as mode, Facts(mode):
        for _ in range(3):  # found, remembered, remembered again
            found = CASES[name](torch.zeros(3, 4, 8), torch.zeros(8, 8))
            assert shape(found) == shape(real)
            assert all(isinstance(t, FakeTensor) for t in ([found] if isinstance(found, Tensor) else found))


def test_views_share_and_results_do_not() -> None:
    with FakeTensorMode() as mode, Facts(mode):
        x = torch.zeros(3, 4)
        for _ in range(2):
            assert x.T.untyped_storage()._cdata == x.untyped_storage()._cdata
            one, two = x + 1, x + 1
            places = {t.untyped_storage()._cdata for t in (x, one, two)}
            assert len(places) == 3
            assert x.reshape(12).untyped_storage()._cdata == x.untyped_storage()._cdata
            assert x.T.reshape(12).untyped_storage()._cdata != x.untyped_storage()._cdata


def test_facts_have_contents_and_numbers_have_none() -> None:
    with FakeTensorMode() as mode, Facts(mode):
        valid = torch.ones(2, 5, dtype=torch.bool)
        valid[0, 3:] = False
        places = valid.long().cumsum(-1)
        assert places.tolist() == [[1, 2, 3, 3, 3], [1, 2, 3, 4, 5]]
        assert bool((places.amax(-1) == torch.tensor([3, 5])).all())
        rows = valid.flatten().nonzero()[:, 0]
        assert rows.shape == (8,)
        table = torch.zeros(6, 7)
        assert isinstance(table[places], FakeTensor)
        assert table.index_select(0, rows.clamp_max(5)).shape == (8, 7)
        assert isinstance(places.float(), FakeTensor)
        assert isinstance(table.argmax(-1), FakeTensor)
        assert isinstance(table.argmax(-1) + places[0, 0], FakeTensor)


def test_an_optimizer_counts_its_steps() -> None:
    with FakeTensorMode() as mode, Facts(mode):
        count = torch.tensor(0.0)
        count += 1
        assert count.item() == 1.0


def test_facts_of_pairs_are_not_kept() -> None:
    with FakeTensorMode() as mode, Facts(mode):
        long = torch.arange(MOST // 8)
        assert not isinstance(long, FakeTensor)
        assert isinstance(long[:, None] >= long[None], FakeTensor)
        assert isinstance(torch.zeros(2 * MOST, dtype=torch.long), FakeTensor)


def test_an_empty_tensor_is_like_any() -> None:
    with FakeTensorMode() as mode, Facts(mode):
        for _ in range(2):
            assert (torch.zeros(0, 4) @ torch.zeros(4, 3)).shape == (0, 3)
