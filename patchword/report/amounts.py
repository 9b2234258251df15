"""Numbers as people read them. Nothing here fails on NaN, infinity, or what is no number at all."""

from __future__ import annotations

import re
from numbers import Real
from typing import Any

MISSING = "–"
_HUGE = 1e100  # beyond this a number is as useless as infinity, and differences of two overflow


def number(value: Any) -> float | None:
    """The value as a finite float, or None where it is not one."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        found = float(value) + 0.0  # the sum turns -0.0 into 0.0
    except OverflowError:
        return None
    return found if abs(found) < _HUGE else None


def whole(value: Any) -> str:
    """`12,345`."""
    found = number(value)
    return MISSING if found is None else f"{found:,.0f}"


def plain(value: Any) -> str:
    """About four digits: `0.2137`, `12.35`, `4,821`, `3.2e-5`."""
    found = number(value)
    if found is None:
        return MISSING if value is None else str(value)
    size = abs(found)
    if size >= 1e7 or 0 < size < 1e-3:
        return scientific(found, 1)
    if size >= 1000 or found == int(found):
        return f"{found:,.0f}"
    return f"{found:.{2 if size >= 10 else 3 if size >= 1 else 4}f}"


def scientific(value: float, digits: int) -> str:
    """`1.5e-7`, with at most so many digits after the point."""
    return re.sub(r"\.?0*e([+-])0*", r"e\1", f"{value:.{digits}e}").replace("e+", "e").removesuffix("e")


def percent(value: Any) -> str:
    """A share as `86.2 %`."""
    found = number(value)
    return plain(value) if found is None else f"{100 * found:.1f}\N{NO-BREAK SPACE}%"


def compact(value: Any) -> str:
    """`12.1M`: three digits and a letter."""
    found = number(value)
    if found is None:
        return MISSING
    for limit, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(found) >= 0.9995 * limit:
            digits = found / limit
            return f"{digits:.{2 if abs(digits) < 9.995 else 1 if abs(digits) < 99.95 else 0}f}{letter}"
    return f"{found:.0f}"


def duration(seconds: Any) -> str:
    """`42 s`, `4 min 12 s`, `3 h 5 min`, `2 d 4 h`."""
    found = number(seconds)
    if found is None or found < 0:
        return MISSING
    total = round(found)
    for size, unit, part, part_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if total >= size:
            rest = total % size // part
            return _spaced(total // size, unit) + (f" {_spaced(rest, part_unit)}" if rest else "")
    return _spaced(total, "s")


def _spaced(value: int, unit: str) -> str:
    return f"{value:,}\N{NO-BREAK SPACE}{unit}"
