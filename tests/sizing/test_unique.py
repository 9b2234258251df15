"""Operations remade and timed: that each can be, what is counted, what is kept. No time is tested."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
import torch
from each_preset import each_preset
from test_size import plain
from torch import Tensor
from torch.utils._pytree import tree_leaves

from patchword.config import AttentionConfig, RunConfig
from patchword.models.presets import PRESETS, load_config, preset
from patchword.sizing.timing import unique
from patchword.sizing.timing.unique import Remade, RemakeError, Timing, remake, time_operation
from patchword.sizing.tracing.record import Op
from patchword.sizing.tracing.signature import signature_of, single
from patchword.training.rehearsed import MODES, rehearsal_of

aten: Any = torch.ops.aten
NARROW = {
    "model.image.dim": 48,
    "model.image.depth": 1,
    "model.text.dim": 48,
    "model.trunk.dim": 48,
    "model.trunk.depth": 1,
    "model.text.vocab_size": 64,
}


def fits_narrow(run: RunConfig) -> bool:
    return run.model.trunk is not None and set(run.model.towers) == {"image", "text"}


DONE: dict[str, int] = {}
"""Bytes that each operation gave when it was remade, for all tests: presets share most of them."""


def traced(run: Any, mode: str = "train") -> list[Op]:
    return MODES[mode](rehearsal_of(run, 2, signatures=True), run, 2).ops


def gives(signature: str) -> int:
    """Bytes of what an operation makes, itself or what it was given."""
    if signature not in DONE:
        made = remake(signature)
        args, kwargs = made.inputs()
        with torch.no_grad():
            out = made.func(*args, **kwargs)
        DONE[signature] = sum(t.numel() * t.element_size() for t in tree_leaves(out) if isinstance(t, Tensor))
    return DONE[signature]


def check_all(ops: list[Op]) -> None:
    known = Counter(op.signature for op in ops)
    assert len(known) > 30
    for op in ops:
        if not op.signature:
            assert op.name.startswith("profiler.")
        elif known.pop(op.signature, 0):
            parts = single(op.signature)
            made = [gives(part) for part in parts]
            if len(parts) == 1 and op.written and torch.Tag.dynamic_output_shape not in remake(parts[0]).func.tags:
                assert made == [op.written], op.signature


@pytest.mark.parametrize("preset", each_preset(*(name for name in PRESETS if fits_narrow(preset(name)))))
def test_every_operation_of_a_preset_can_be_remade(preset: str) -> None:
    check_all(traced(load_config(preset, NARROW)))


@pytest.mark.parametrize("kind", AttentionConfig.kinds)
def test_every_operation_of_a_mechanism_can_be_remade(kind: str) -> None:
    fewer = {"model.image.attention.pooled_len": 4} if kind == "linformer" else {}
    check_all(traced(plain(**{"model.image.attention.kind": kind, **fewer})))


@pytest.mark.parametrize("changes", [
    {"train.checkpoint_blocks": True}, {"train.precision": "bf16"}, {"train.accumulate": 2}, {"train.ema": 0.99},
    {"model.trunk.residual.dropout": 0.1, "train.clip": None},
])  # fmt: skip
def test_every_operation_of_a_way_of_training_can_be_remade(changes: dict[str, Any]) -> None:
    check_all(traced(plain(**changes)))


def test_every_operation_without_gradients_can_be_remade() -> None:
    check_all(traced(plain(), "inference"))
    check_all(traced(plain(**{"model.text.max_len": 6}), "generate"))


# ------------------------------------------------------------------ signatures


def test_a_signature_tells_apart_what_may_take_another_time() -> None:
    x, y = torch.zeros(4, 6), torch.zeros(4, 6)

    def signed(*args: Any, **kwargs: Any) -> str:
        return signature_of(aten.add.Tensor, args, kwargs)

    assert signed(x, y) == signed(y, x)
    different = [signed(x, y), signed(x, y.t().contiguous().t()), signed(x, y[:1]), signed(x, y.double()),
                 signed(x, y, alpha=2), signed(x, 2)]  # fmt: skip
    assert len(set(different)) == len(different)
    assert signature_of(torch.ops.profiler._record_function_enter_new.default, ("step",), {}) == ""


def test_a_remade_tensor_has_the_shape_the_strides_and_the_type() -> None:
    given = [torch.zeros(3, 4).t(), torch.zeros(2, 1).expand(2, 5), torch.zeros(0, 3)]
    given += [torch.zeros(n, dtype=dtype) for n, dtype in ((4, torch.int64), (3, torch.bfloat16), (2, torch.bool))]
    args, kwargs = Remade(signature_of(aten.cat.default, (given, 1), {"dtype": torch.float32})).inputs()
    assert [(t.shape, t.stride(), t.dtype) for t in args[0]] == [(t.shape, t.stride(), t.dtype) for t in given]
    assert args[1] == 1
    assert kwargs == {"dtype": torch.float32}
    assert not args[0][3].any()
    assert args[0][5].all()


def test_places_in_tables_and_whole_divisors_are_in_range() -> None:
    table, places = torch.zeros(5, 3), torch.zeros(7, dtype=torch.int64)
    assert gives(signature_of(aten.embedding.default, (table, places), {})) == 7 * 3 * 4
    whole = torch.ones(4, dtype=torch.int64)
    assert gives(signature_of(aten.floor_divide.default, (whole, whole), {})) == 4 * 8


def test_lists_of_an_optimizer_are_taken_apart() -> None:
    lists = [[torch.zeros(3), torch.zeros(2, 2)] for _ in range(4)]
    whole = signature_of(
        aten._fused_adamw_.default,
        (*lists, [], [torch.zeros(()), torch.zeros(())]),
        {
            "lr": 1e-3,
            "beta1": 0.9,
            "beta2": 0.99,
            "weight_decay": 0.1,
            "eps": 1e-8,
            "amsgrad": False,
            "maximize": False,
        },
    )
    parts = single(whole)
    assert len(parts) == 2
    args, kwargs = Remade(parts[1]).inputs()
    assert [[t.shape for t in arg] for arg in args] == [[(2, 2)]] * 4 + [[], [()]]
    assert kwargs["beta1"] == 0.9
    for part in parts:
        remake(part)
    added = signature_of(aten._foreach_add_.Scalar, ([torch.zeros(3)] * 5, 1), {})
    assert single(added) == [signature_of(aten._foreach_add_.Scalar, ([torch.zeros(3)], 1), {})] * 5
    plain_cat = signature_of(aten.cat.default, ([torch.zeros(3)] * 2,), {})
    assert single(plain_cat) == [plain_cat]


def test_what_cannot_be_remade_says_why() -> None:
    for signature, why in (
        ('["aten.no_such_thing.default",{"list":[]},{}]', "no operation"),
        ('["aten.relu.default",{"list":[["N","unknown","Generator"]]},{}]', "is a Generator"),
        (signature_of(aten.mm.default, (torch.zeros(2, 3), torch.zeros(4, 5)), {}), "cannot be multiplied"),
    ):
        with pytest.raises(RemakeError, match=why):
            remake(signature)


# ------------------------------------------------------------------ samples, by a clock that ticks when it is read


@pytest.fixture
def ticking() -> Callable[[], float]:
    ticks = count()
    return lambda: next(ticks) * 1e-4


def test_an_operation_is_called_often_enough_over_near_and_far_inputs(
    ticking: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def neg(x: Tensor) -> Tensor:
        calls.append(x.data_ptr())
        return aten.neg.default(x)

    monkeypatch.setattr(unique.Remade, "func", property(lambda _: neg, lambda *_: None), raising=False)
    found = time_operation(signature_of(aten.neg.default, (torch.zeros(2**18),), {}), ticking)
    near, far = 8, 32  # of 2 MiB each, inputs and results
    assert len(set(calls)) >= far
    assert found.near_low == pytest.approx(1e-4 / near)
    assert found.far_low == pytest.approx(1e-4 / near)  # never less than near


def test_an_interval_goes_from_near_to_far() -> None:
    found = Timing(1.0, 2.0, 3.0, 6.0)
    assert found.between(0.0, 1.0) == (1.0, 6.0)
    assert found.between(0.5, 1.0) == (2.0, 6.0)
    assert found.between(0.0, 0.5) == (1.0, 4.0)
