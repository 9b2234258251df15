"""Scales and their ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from patchword.report.amounts import scientific

_LOG_SPREAD = 20  # largest over smallest, above which a logarithmic axis shows more
_TICKS = 5
_TINY = 1e-100  # below this, gaps between ticks would vanish


class Scale(NamedTuple):
    """A range of values, and where to put a label."""

    low: float
    high: float
    ticks: tuple[float, ...]
    step: float
    """Gap between ticks, which says how many digits a label needs; 0: each label stands for itself."""
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value is: 0 at the low end, 1 at the high end."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def label(self, value: float, share: bool = False) -> str:
        """A tick's label; `share`: as per cent."""
        if share:
            return f"{100 * value:.{_decimals(100 * self.step)}f}\N{NO-BREAK SPACE}%"
        digits = _decimals(self.step) if self.step else max(0, -math.floor(math.log10(value)))
        if abs(value) >= 1e6 or digits > 4:
            return scientific(value, 3)
        return f"{value:,.{digits}f}"


def step_scale(steps: Sequence[float]) -> Scale:
    """From step 0 (or the lowest) to the last, ticks on whole steps."""
    low, high = min(0.0, *steps), max(1.0, *steps)
    step = max(1.0, _nice((high - low) / _TICKS))
    return Scale(low, high, _multiples(low, high, step), step)


def value_scale(values: Sequence[float], may_be_log: bool = False, from_zero: bool = False) -> Scale:
    """A range around the values with ticks at round numbers. It begins at zero where little room is lost by that."""
    low, high = min(values), max(values)
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if may_be_log and low > _TINY and high / low > _LOG_SPREAD:
        return _log_scale(low, high)
    size = max(abs(low), abs(high))
    if size < _TINY:
        low, high = 0.0, 1.0
    elif high - low < 1e-9 * size:  # one value, or so alike that no tick could tell them apart
        low, high = min(0.0, 2 * low), max(0.0, 2 * high)
    if 0 < low < 0.5 * high:
        low = 0.0
    if 0.5 * low < high < 0:
        high = 0.0
    step = _nice((high - low) / _TICKS)
    low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    return Scale(low, high, _multiples(low, high, step), step)


def _log_scale(low: float, high: float) -> Scale:
    low, high = low / 1.1, high * 1.1
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    digits = (1, 2, 5) if high / low < 300 else (1,)
    every = -(-len(decades) // _TICKS)
    ticks = [digit * 10.0**decade for decade in decades[::every] for digit in digits]
    return Scale(low, high, tuple(tick for tick in ticks if low <= tick <= high), 0, log=True)


def _nice(gap: float) -> float:
    """The nearest of 1, 2 and 5 times a power of ten that is at least `gap`."""
    power = 10.0 ** math.floor(math.log10(gap))
    return next(digit * power for digit in (1, 2, 5, 10) if digit * power >= gap * (1 - 1e-9))


def _multiples(low: float, high: float, step: float) -> tuple[float, ...]:
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(count * step for count in range(first, last + 1))


def _decimals(step: float) -> int:
    return max(0, -math.floor(math.log10(step) + 1e-9))
