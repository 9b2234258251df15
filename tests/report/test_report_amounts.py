from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchword.report.amounts import compact, duration, number, percent, plain, whole

NBSP = "\N{NO-BREAK SPACE}"
ANYTHING = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-0.0, "0"),
        (3, "3"),
        (0.21374, "0.2137"),
        (1.2345, "1.234"),
        (72.629, "72.63"),
        (4821.3, "4,821"),
        (3.2e-5, "3.2e-5"),
        (1.5e9, "1.5e9"),
        (-12.5, "-12.50"),
        (np.float32(0.5), "0.5000"),
        (None, "–"),
        (math.nan, "nan"),
        ("half", "half"),
    ],
)
def test_plain(value, text) -> None:
    assert plain(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (1000, "1.00k"), (999_499, "999k"), (999_600, "1.00M"), (12_100_000, "12.1M"),
     (137e9, "137G"), (9.996e6, "10.0M"), (-1893248, "-1.89M"), (math.inf, "–"), (None, "–")],
)  # fmt: skip
def test_compact(value, text) -> None:
    assert compact(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (42, "42 s"), (59.6, "1 min"), (252, "4 min 12 s"), (3600, "1 h"), (11_100, "3 h 5 min"),
     (187_200, "2 d 4 h"), (-1, "–"), (math.nan, "–"), (None, "–")],
)  # fmt: skip
def test_duration(seconds, text) -> None:
    assert duration(seconds).replace(NBSP, " ") == text


def test_percent_and_whole() -> None:
    assert percent(0.8617) == f"86.2{NBSP}%"
    assert percent(None) == "–"
    assert whole(1234567) == "1,234,567"
    assert whole(math.nan) == "–"


@given(ANYTHING)
def test_nothing_fails(value) -> None:
    for write in (plain, percent, compact, duration, whole):
        assert write(value) or value == ""


@pytest.mark.parametrize("value", [True, math.nan, math.inf, 10**400, -(10**400), "1", None, [1]])
def test_what_is_no_finite_number(value) -> None:
    assert number(value) is None
