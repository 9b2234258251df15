from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchword.report.axes import step_scale, value_scale

VALUES = st.lists(st.floats(-1e99, 1e99), min_size=1, max_size=20)


@given(VALUES, st.booleans(), st.booleans())
def test_every_value_is_on_the_axis_and_ticks_are_few_and_different(values, may_be_log, from_zero) -> None:
    scale = value_scale(values, may_be_log, from_zero)
    assert all(-1e-6 <= scale.place(value) <= 1 + 1e-6 for value in values)
    assert 1 <= len(scale.ticks) <= 9
    assert list(scale.ticks) == sorted(set(scale.ticks))
    assert all(-1e-6 <= scale.place(tick) <= 1 + 1e-6 for tick in scale.ticks)


@given(st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=20), st.booleans())
def test_labels_of_ticks_differ_and_are_short(values, may_be_log) -> None:
    if max(values) - min(values) < 1e-3 * max(values):  # then labels need many digits
        values = [max(values)]
    scale = value_scale(values, may_be_log)
    labels = [scale.label(tick) for tick in scale.ticks]
    assert len(set(labels)) == len(labels)
    assert all(len(label) <= 8 for label in labels)


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0.2, 0.93], ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([300, 310], ["300", "302", "304", "306", "308", "310"]),
        ([0.0005], ["0.0000", "0.0002", "0.0004", "0.0006", "0.0008", "0.0010"]),
        ([0], ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([-4, -1], ["-4", "-3", "-2", "-1", "0"]),
        ([0, 3e-7], ["0", "1e-7", "2e-7", "3e-7"]),
        ([0, 12e6], ["0", "5e6", "1e7", "1.5e7"]),
    ],
)
def test_round_ticks(values, labels) -> None:
    scale = value_scale(values)
    assert [scale.label(tick) for tick in scale.ticks] == labels


def test_logarithmic_only_where_values_are_positive_and_spread() -> None:
    wide = value_scale([0.04, 5], may_be_log=True)
    assert wide.log
    assert [wide.label(tick) for tick in wide.ticks] == ["0.05", "0.1", "0.2", "0.5", "1", "2", "5"]
    assert wide.place(1) - wide.place(0.1) == pytest.approx(wide.place(2) - wide.place(0.2))
    assert not value_scale([0.04, 5]).log
    assert not value_scale([0.0, 5], may_be_log=True).log
    assert not value_scale([1, 3], may_be_log=True).log


def test_from_zero() -> None:
    assert value_scale([300, 310], from_zero=True).low == 0
    assert value_scale([300, 310]).low == 300


def test_share_labels() -> None:
    scale = value_scale([0.0, 0.034])
    assert [scale.label(tick, share=True).replace("\N{NO-BREAK SPACE}", " ") for tick in scale.ticks][:3] == [
        "0 %",
        "1 %",
        "2 %",
    ]


@given(st.lists(st.floats(-1e99, 1e99), min_size=1))
def test_steps_have_whole_ticks(steps) -> None:
    scale = step_scale(steps)
    assert scale.low <= min(steps)
    assert scale.high >= max(steps)
    assert scale.low < scale.high
    assert all(tick == round(tick) for tick in scale.ticks)
