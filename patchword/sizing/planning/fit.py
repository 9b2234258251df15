"""The largest batch that fits: the peak of each phase is a line over the batch, so two traces give all of it."""

from __future__ import annotations

import re
from collections.abc import Callable

from patchword.config import UserError

_UNITS = {"": 1, "b": 1} | {f"{u}b": 1000**i for i, u in enumerate("kmgt", 1)}
_UNITS |= {f"{u}ib": 1024**i for i, u in enumerate("kmgt", 1)}
_FIRST = (2, 3)
_FARTHEST = 4096
"""Times the largest batch known to fit, a line is not trusted any further."""

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


def largest_batch(peaks: Peaks, memory: int, known: dict[int, int] | None = None) -> int:
    """The largest batch whose peak is at most `memory` bytes; 0: not even one sample fits.

    Peaks are lines over the batch, piece by piece (a loss computed in chunks fills its first one; another operation
    becomes the highest). Where the last line known meets `memory` is tried, and its neighbour: on one line that is the
    answer. Else the next line lies between batches that are known to fit and not to.

    Args:
        peaks: sizes a step.
        memory: bytes.
        known: peaks by batch from an earlier search, to begin with; what is found is added.
    """
    known = {} if known is None else known

    def fits(size: int) -> bool:
        if size not in known:
            known[size] = max(peaks(size).values())
        return known[size] <= memory

    low, high = 0, None
    for size in sorted({*_FIRST, *known}):
        if high is None:
            low, high = (size, None) if fits(size) else (low, size)
    while high is None or high - low > 1:
        before = None if high is None else high - low
        for size in _tried(known, memory, low, high):
            if size > low and (high is None or size < high):
                low, high = (size, high) if fits(size) else (low, size)
        if high is not None and before is not None and high - low > max(1, before // 2):  # no line held
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _tried(known: dict[int, int], memory: int, low: int, high: int | None) -> tuple[int, int]:
    """Where the line through the two batches nearest to the answer meets `memory`, and its neighbour towards it."""
    if high is None:
        first, second = sorted(known)[-2:]
    elif low in known:
        first, second = low, high
    else:  # nothing fits yet
        return max(high // 2, 1), 1
    slope = max((known[second] - known[first]) / (second - first), 1e-9)
    guess = int(first + (memory - known[first]) // slope)
    guess = min(max(guess, low + 1), _FARTHEST * max(low, 1) if high is None else high - 1)
    return guess, guess + 1
