"""Tables of timings, and steps predicted from them, by hand. No time is tested."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from test_size import plain
from test_unique import traced

from patchword.config import UserError
from patchword.sizing.size import component_of
from patchword.sizing.timing.calibrate import (
    DISTANCE,
    MARGIN,
    counts_of,
    measure_overheads,
    measure_shares,
    missing,
    predicted,
    time_missing,
)
from patchword.sizing.timing.timings import VARIABLE, Timings, folder
from patchword.sizing.timing.unique import RemakeError, Timing
from patchword.sizing.tracing.fold import folded
from patchword.sizing.tracing.kinds import Kind, Kinds, kinds_of
from patchword.sizing.tracing.record import Work
from patchword.training.rehearsed import MODES, rehearsal_of


@pytest.fixture(autouse=True)
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for what is timed."""
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    return tmp_path


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


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2, "operations": {"a": [1]}}'])
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
    table.shares |= {"forward": (0.5, 1.5), "backward": (1.0, 1.0), "optimizer": (1.0, 1.0)}
    return table


def test_a_step_is_the_sum_of_its_operations_and_what_the_program_adds() -> None:
    found = predicted(KINDS, filled(), "train", "fp32", 1)
    assert found is not None
    less, more = 1 - MARGIN, 1 + MARGIN
    between = filled().operations['["a"]'].between
    (a_low, a_high), (o_low, o_high) = between(*DISTANCE["forward"]), (5.0, 6.0)
    assert found.phases["forward"] == pytest.approx(
        ((3 * a_low + o_low + 4 * 1.0) * 0.5 * less, (3 * a_high + o_high + 4 * 2.0) * 1.5 * more)
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
    assert found.low == pytest.approx(plainly.low + 2 * 1.0 * 0.5 * (1 - MARGIN))  # its start at least


def test_what_the_program_adds_is_what_references_take_beyond_their_operations() -> None:
    table = filled()
    seconds = [
        {"forward": 60.0, "backward": 40.0, "optimizer": 30.0},
        {"forward": 80.0, "backward": 30.0, "optimizer": 26.0},
    ]
    measure_overheads(table, [(counts_of(KINDS), each) for each in seconds], "train")
    low, high = filled().operations['["a"]'].between(*DISTANCE["forward"])
    inside = 3 * (low + high) / 2 + 5.5
    assert Timings.load(1).overheads["forward"] == pytest.approx(((60.0 - inside) / 4, (80.0 - inside) / 4))
    assert Timings.load(1).overheads["backward"] == pytest.approx(((30.0 - low - high) / 2, (40.0 - low - high) / 2))
    assert Timings.load(1).overheads["optimizer"] == pytest.approx(((26.0 - 22.0) / 4, (30.0 - 22.0) / 4))
    assert predicted(KINDS, Timings.load(1), "inference", "fp32", 1) is None


def test_a_share_is_what_steps_take_of_the_sum() -> None:
    table = filled()
    low, high = table.operations['["a"]'].between(*DISTANCE["backward"])
    middle = 2 * (low + high) / 2 + 2 * -0.5
    seconds = [{"forward": 1.0, "backward": middle * share, "optimizer": 25.0} for share in (0.9, 1.3, 1.1)]
    measure_shares(table, [(counts_of(KINDS), each) for each in seconds], "train")
    assert Timings.load(1).shares["backward"] == pytest.approx((0.9, 1.3))
    assert Timings.load(1).shares["optimizer"] == pytest.approx((1.0, 1.0))


def test_a_deep_model_told_from_shallow_ones_is_covered_by_its_own_trace() -> None:
    run = plain(**{"model.trunk.depth": 14, "train.optimizer.kind": "adamw"})  # Muon takes all matrices at once
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
