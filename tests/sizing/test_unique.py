"""Operations remade and timed: that each can be, what is counted, what is kept. No time is tested."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from test_size import plain
from torch import Tensor
from torch.utils._pytree import tree_leaves

from patchword.config import AttentionConfig, UserError
from patchword.models.presets import PRESETS, load_config
from patchword.sizing import unique
from patchword.sizing.calibrate import DISTANCE, MARGIN, counts_of, measure_overheads, missing, predicted, time_missing
from patchword.sizing.fold import folded
from patchword.sizing.kinds import Kind, Kinds, kinds_of
from patchword.sizing.record import Op, Work
from patchword.sizing.signature import signature_of, single
from patchword.sizing.size import component_of
from patchword.sizing.timings import VARIABLE, Timings, folder
from patchword.sizing.unique import Remade, RemakeError, Timing, remake, time_operation
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
DONE: dict[str, int] = {}
"""Bytes that each operation gave when it was remade, for all tests: presets share most of them."""


@pytest.fixture(autouse=True)
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for what is timed."""
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return tmp_path


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


@pytest.mark.parametrize("preset", PRESETS)
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
    near, far = 8, 64  # of 2 MiB each, inputs and results
    assert len(set(calls)) >= far
    assert found.near_low == pytest.approx(1e-4 / near)
    assert found.far_low == pytest.approx(1e-4 / near)  # never less than near


def test_an_interval_goes_from_near_to_far() -> None:
    found = Timing(1.0, 2.0, 3.0, 6.0)
    assert found.between(0.0, 1.0) == (1.0, 6.0)
    assert found.between(0.5, 1.0) == (2.0, 6.0)
    assert found.between(0.0, 0.5) == (1.0, 4.0)


# ------------------------------------------------------------------ the table


def kind(signature: str, phase: str = "forward", name: str = "aten.add") -> Kind:
    return Kind(phase, name, Work(), 40, 40, signature)


def test_a_second_configuration_times_only_what_is_new() -> None:
    asked: list[str] = []

    def time_one(signature: str) -> Timing:
        asked.append(signature)
        if signature == '["odd"]':
            raise RemakeError("an argument is a Generator")
        return Timing(1.0, 1.0, 1.0, 1.0)

    first = counts_of(Kinds({kind('["a"]'): 3, kind('["b"]'): 1, kind('["a"]', "backward"): 2, kind('["odd"]'): 1}))
    told: list[tuple[int, int]] = []
    assert time_missing(first, Timings.load(1), lambda *p: told.append(p), time_one) == 3
    assert sorted(asked) == ['["a"]', '["b"]', '["odd"]']
    assert told[-1] == (3, 3)
    again = Timings.load(1)
    assert again.refused == {'["odd"]': "an argument is a Generator"}
    assert missing(first, again) == []
    second = counts_of(Kinds({kind('["b"]'): 1, kind('["c"]'): 1}))
    assert time_missing(second, again, None, time_one) == 1
    assert asked[3:] == ['["c"]']
    assert missing(second, Timings.load(2)) == ['["b"]', '["c"]']  # other threads, another table


def test_what_was_timed_is_kept_when_it_is_stopped() -> None:
    def time_one(signature: str) -> Timing:
        if signature == '["b"]':
            raise KeyboardInterrupt
        return Timing(1.0, 1.0, 1.0, 1.0)

    counts = counts_of(Kinds({kind('["a"]'): 1, kind('["b"]'): 1}))
    with pytest.raises(KeyboardInterrupt):
        time_missing(counts, Timings.load(1), None, time_one)
    assert missing(counts, Timings.load(1)) == ['["b"]']


def test_where_the_table_is(monkeypatch: pytest.MonkeyPatch, tables: Path) -> None:
    assert folder() == tables
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert folder() == Path("/somewhere/patchword")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/one")
    assert folder() == Path("/home/one/.cache/patchword")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1, "operations": {"a": [1]}}'])
def test_a_broken_table_is_refused(text: str) -> None:
    table = Timings.load(1)
    table.save()
    table.path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match="no table of timings"):
        Timings.load(1)


def test_a_table_of_another_format_is_empty() -> None:
    table = Timings.load(1)
    table.operations['["a"]'] = Timing(1.0, 1.0, 1.0, 1.0)
    table.save()
    assert Timings.load(1) == table
    read = json.loads(table.path.read_text(encoding="utf-8"))
    table.path.write_text(json.dumps({**read, "format": 0}), encoding="utf-8")
    assert not Timings.load(1).operations


# ------------------------------------------------------------------ predictions, by hand

KINDS = Kinds({kind('["a"]'): 3, kind('["b"]'): 1, kind('["a"]', "backward"): 2, kind('["b"]', "optimizer"): 4})


def filled() -> Timings:
    table = Timings.load(1)
    table.operations |= {'["a"]': Timing(10.0, 11.0, 20.0, 22.0), '["b"]': Timing(5.0, 6.0, 5.0, 6.0)}
    table.overheads |= {"forward": (1.0, 2.0), "backward": (-1.0, 0.0), "optimizer": (0.5, 1.0)}
    return table


def test_a_step_is_the_sum_of_its_operations_and_what_the_program_adds() -> None:
    found = predicted(KINDS, filled(), "train", "fp32", 1)
    assert found is not None
    less, more = 1 - MARGIN, 1 + MARGIN
    between = filled().operations['["a"]'].between
    (a_low, a_high), (o_low, o_high) = between(*DISTANCE["forward"]), (5.0, 6.0)
    assert found.phases["forward"] == pytest.approx(
        ((3 * a_low + o_low + 4 * 1.0) * less, (3 * a_high + o_high + 4 * 2.0) * more)
    )
    assert found.phases["backward"] == pytest.approx(((2 * a_low - 2 * 1.0) * less, 2 * a_high * more))
    assert found.phases["optimizer"] == pytest.approx((4 * 5.5 * less, 4 * 7.0 * more))
    assert found.low == pytest.approx(sum(low for low, _ in found.phases.values()))
    assert found.source == "calibrated"
    assert found.bounded == {}


def test_a_table_that_lacks_something_predicts_nothing() -> None:
    table = filled()
    del table.operations['["a"]']
    table.operations['["b"]'] = Timing(1e-9, 1e-9, 1e-9, 1e-9)
    table.overheads |= dict.fromkeys(("forward", "backward", "optimizer"), (0.0, 0.0))
    assert predicted(KINDS, table, "train", "fp32", 1) is None
    assert (
        predicted(KINDS, filled(), "inference", "fp32", 1) is None
    )  # the program's part is not known without gradients


def test_what_was_not_timed_is_bounded_and_told() -> None:
    table = filled()
    table.refused['["odd"]'] = "an argument is a Generator"
    heavy = Kind("forward", "aten.odd", Work(hardware=10**15), 40, 40, '["odd"]')
    plainly, found = (predicted(k, table, "train", "fp32", 1) for k in (KINDS, KINDS + Kinds({heavy: 2})))
    assert plainly is not None
    assert found is not None
    assert found.bounded == {"aten.odd": 2}
    assert found.high > plainly.high + 10
    assert found.low == pytest.approx(plainly.low + 2 * 1.0 * (1 - MARGIN))  # its start at least


def test_what_the_program_adds_is_what_references_take_beyond_their_operations() -> None:
    table = filled()
    seconds = [{"forward": 60.0, "backward": 40.0}, {"forward": 80.0, "backward": 30.0}]
    measure_overheads(
        table, [(counts_of(KINDS), each) for each in seconds], {"forward": "forward", "backward": "backward"}
    )
    low, high = filled().operations['["a"]'].between(*DISTANCE["forward"])
    inside = 3 * (low + high) / 2 + 5.5
    assert Timings.load(1).overheads["forward"] == pytest.approx(((60.0 - inside) / 4, (80.0 - inside) / 4))
    assert Timings.load(1).overheads["backward"] == pytest.approx(((30.0 - low - high) / 2, (40.0 - low - high) / 2))


def test_a_deep_model_told_from_shallow_ones_is_covered_by_its_own_trace() -> None:
    run = plain(**{"model.trunk.depth": 14})
    rehearsal = rehearsal_of(run, 2, signatures=True)
    shallow = folded(rehearsal.model, lambda: MODES["train"](rehearsal, run, 2), component_of)
    assert shallow is not None
    whole, table = counts_of(kinds_of(traced(run))), filled()
    time_missing(whole, table, None, lambda _: Timing(1e-3, 1e-3, 1e-3, 1e-3))
    apart = Counter(whole)
    apart.subtract(counts_of(shallow.kinds))
    names = {json.loads(signature)[0] for (_, signature), count in apart.items() if count}
    assert names <= {"aten.stack.default", "aten.linalg_vector_norm.default"}  # the length of a list of norms
    found = predicted(shallow.kinds, table, "train", "fp32", 1)
    assert found is not None
    assert set(found.bounded) <= {"aten.stack", "aten.linalg_vector_norm"}
    direct = predicted(kinds_of(traced(run)), table, "train", "fp32", 1)
    assert direct is not None
    assert found.high == pytest.approx(direct.high, rel=0.02)


def test_a_heavy_operation_that_the_table_lacks_is_not_covered() -> None:
    heavy = Kind("forward", "aten.mm", Work(hardware=10**15), 40, 40, '["c"]')
    assert predicted(KINDS + Kinds({heavy: 1}), filled(), "train", "fp32", 1) is None
