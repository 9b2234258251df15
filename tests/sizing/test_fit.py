"""The largest batch that fits."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from test_size import plain

import patchword
from patchword.cli import main
from patchword.config import UserError
from patchword.sizing.planning.fit import largest_batch, parse_bytes


@pytest.mark.parametrize("memory", [0, 99, 100, 107, 5_000, 123_456])
def test_of_lines(memory: int) -> None:
    def peaks(batch: int) -> dict[str, int]:
        return {"forward": 50 + 7 * batch, "backward": 20 + 11 * batch, "optimizer": 90}

    want = max((b for b in range(12_000) if max(peaks(b).values()) <= memory), default=0)
    assert largest_batch(peaks, memory) == want


def test_of_a_bent_line() -> None:
    def peaks(batch: int) -> dict[str, int]:
        return {"forward": 100 * min(batch, 10) + 3 * batch}

    assert largest_batch(peaks, 2_000) == 333
    assert largest_batch(peaks, 400) == 3


def test_of_many_bends_in_few_trials() -> None:
    """Lines that begin flat, steep or in the middle; few trials, as each is a trace."""
    rng = random.Random(0)
    most = 0
    for _ in range(300):
        cuts = sorted(rng.sample(range(1, 400), 3))
        slopes = [rng.choice([0, 1, rng.randint(1, 10**6)]) for _ in cuts] + [rng.randint(1, 10**6)]
        base, memory = rng.randint(0, 10**7), rng.randint(0, 10**8)
        tried: set[int] = set()

        def peak(batch: int, cuts: list[int] = cuts, slopes: list[int] = slopes, base: int = base) -> int:
            edges = [0, *cuts, 10**9]
            spans = zip(edges, edges[1:], slopes, strict=False)
            return base + sum(slope * (min(batch, end) - start) for start, end, slope in spans if batch > start)

        def peaks(batch: int, tried: set[int] = tried, peak: Callable[[int], int] = peak) -> dict[str, int]:
            assert batch not in tried
            tried.add(batch)
            return {"forward": peak(batch)}

        found = largest_batch(peaks, memory)
        assert found == 0 or peak(found) <= memory
        assert peak(found + 1) > memory
        most = max(most, len(tried))
    assert most <= 60


def test_the_next_batch_does_not_fit() -> None:
    run, memory = plain(), 4_000_000
    batch = patchword.largest_batch(run, memory)
    assert batch > 3
    assert patchword.size(run, batch=batch).peak_bytes <= memory < patchword.size(run, batch=batch + 1).peak_bytes


@pytest.mark.parametrize(
    ("text", "size"), [("512MiB", 2**29), ("8 gib", 2**33), ("80GB", 80 * 10**9), ("7", 7), ("1.5KB", 1500)]
)
def test_amounts(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-3GiB", "8 GiBi", "eight"])
def test_wrong_amounts(text: str) -> None:
    with pytest.raises(UserError, match="no amount of memory"):
        parse_bytes(text)


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["size", "captioner-tiny", "--fit", "1KiB"]) == 2
    assert "not even one sample fits in 1KiB" in capsys.readouterr().err
    assert main(["size", "captioner-tiny", "--fit", "1GiB", "--batch", "3"]) == 2
    assert "drop one of them" in capsys.readouterr().err
