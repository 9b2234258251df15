"""The lines of the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from benchmarks.timing import Comparison, compare


class Contest(NamedTuple):
    """One thing that two libraries do."""

    task: str
    """What is done."""
    peer: str
    """By whom else."""
    ours: Callable[[], object]
    theirs: Callable[[], object]
    pairs: int
    """Times each is run."""
    facts: dict[str, Any]
    """What was checked before: parameters of both, how far their results differ."""


class Row(NamedTuple):
    """One measured contest."""

    contest: Contest
    threads: int
    result: Comparison

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for `--json`."""
        return {
            "task": self.contest.task,
            "peer": self.contest.peer,
            "threads": self.threads,
            **self.result._asdict(),
            "facts": self.contest.facts,
        }


def measure(contests: Sequence[Contest], threads: int, pairs: int | None) -> Iterator[Row]:
    """Each contest's row; `pairs` overrules how often it is run."""
    for contest in contests:
        yield Row(contest, threads, compare(contest.ours, contest.theirs, pairs or contest.pairs))


def markdown(rows: Sequence[Row]) -> str:
    """The table."""
    lines = [
        "| task | peer | threads | ours, ms | peer, ms | faster | least to most |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        r = row.result
        lines.append(
            f"| {row.contest.task} | {row.contest.peer} | {row.threads} | {r.ours_ms:.1f} | {r.peer_ms:.1f} "
            f"| **{r.faster:.2f} x** | {r.least:.2f} to {r.most:.2f} |"
        )
    return "\n".join(lines)


def footnotes(contests: Sequence[Contest]) -> str:
    """What was checked, one line a contest."""
    return "\n".join(
        f"- {c.task}, {c.peer}: " + "; ".join(f"{name} {value}" for name, value in c.facts.items())
        for c in contests
        if c.facts
    )
