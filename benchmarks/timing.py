"""Two functions timed in turn, so that a busy machine slows both alike."""

from __future__ import annotations

import gc
from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import NamedTuple


class Comparison(NamedTuple):
    """What a contest came to."""

    ours_ms: float
    """Median time of ours."""
    peer_ms: float
    """Median time of the peer."""
    faster: float
    """Median over pairs of (peer's time / ours): above 1, ours is faster."""
    least: float
    most: float
    pairs: int


def compare(ours: Callable[[], object], peer: Callable[[], object], pairs: int, warm_up: int = 2) -> Comparison:
    """Run both `pairs` times, A B B A A B ..., after `warm_up` runs of each that do not count."""
    for _ in range(warm_up):
        ours()
        peer()
    times: list[tuple[float, float]] = []
    gc.collect()
    gc.disable()  # garbage of one must not be collected in the other's time
    try:
        for index in range(pairs):
            if index % 2:
                second, first = _seconds(peer), _seconds(ours)
            else:
                first, second = _seconds(ours), _seconds(peer)
            times.append((first, second))
    finally:
        gc.enable()
    ratios = [b / a for a, b in times]
    return Comparison(
        ours_ms=1000 * median(a for a, _ in times),
        peer_ms=1000 * median(b for _, b in times),
        faster=median(ratios),
        least=min(ratios),
        most=max(ratios),
        pairs=pairs,
    )


def _seconds(run: Callable[[], object]) -> float:
    start = perf_counter()
    run()
    return perf_counter() - start
