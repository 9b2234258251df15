"""The largest batch that fits: the peak of each phase is a line over the batch, so two traces give all of it."""

from __future__ import annotations

import re
from collections.abc import Callable

from patchword.config import UserError

_UNITS = {"": 1, "b": 1} | {f"{u}b": 1000**i for i, u in enumerate("kmgt", 1)}
_UNITS |= {f"{u}ib": 1024**i for i, u in enumerate("kmgt", 1)}
_FIRST = (2, 3)

Peaks = Callable[[int], dict[str, int]]
"""Samples in a batch to the most bytes in each phase."""


def parse_bytes(text: str) -> int:
    """`512MiB`, `8 GiB`, `80GB` or a number of bytes.

    Raises:
        UserError: it is none of these.
    """
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", text)
    if found is None or found[2].lower() not in _UNITS:
        raise UserError(f"{text!r} is no amount of memory: give a number and a unit, such as 512MiB, 8GiB or 80GB")
    return int(float(found[1]) * _UNITS[found[2].lower()])


def largest_batch(peaks: Peaks, memory: int) -> int:
    """The largest batch whose peak is at most `memory` bytes; 0: not even one sample fits.

    The lines' answer is tried, and its neighbour too: where the lines do not hold (a loss computed in chunks fills its
    first one), the batch is halved and doubled towards the truth.
    """
    low, high = (peaks(size) for size in _FIRST)
    guess = min(_reach(low.get(phase, 0), high[phase], memory) for phase in high)
    fits = {size: max(found.values()) <= memory for size, found in zip(_FIRST, (low, high), strict=True)}

    def fit(size: int) -> bool:
        if size not in fits:
            fits[size] = max(peaks(size).values()) <= memory
        return fits[size]

    size, step = max(guess, 1), 1
    if fit(size):
        while fit(size + step):
            size, step = size + step, 2 * step
        return _between(fit, size, size + step)
    while size > 1 and not fit(size):
        size, step = max(size - step, 1), 2 * step
    return _between(fit, size, size + step) if fit(size) else 0


def _reach(low: int, high: int, memory: int) -> int:
    """Where the line through the first two batches meets `memory`."""
    slope = max(high - low, 1)
    return (memory - low) // slope + _FIRST[0]


def _between(fit: Callable[[int], bool], fits: int, not_any_more: int) -> int:
    while not_any_more - fits > 1:
        middle = (fits + not_any_more) // 2
        fits, not_any_more = (middle, not_any_more) if fit(middle) else (fits, middle)
    return fits
