"""How long a step takes on this machine: the sum of its operations, each timed once, and what the program adds.

What Python and the graph of gradients add to each operation is measured on small reference models: what their steps
take beyond the sum of their operations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from time import monotonic

from patchword.sizing.devices import this_machine
from patchword.sizing.kinds import Kind
from patchword.sizing.record import BACKWARD, FORWARD, OPTIMIZER, PHASES
from patchword.sizing.roofline import CALIBRATED, StepTime, rated, seconds_of
from patchword.sizing.signature import single
from patchword.sizing.timings import Timings
from patchword.sizing.unique import RemakeError, Timing, time_operation

MARGIN = 0.08
"""Share by which an interval is widened at both ends: a machine is not equally fast at all hours."""
DISTANCE = {FORWARD: (0.0, 0.6), BACKWARD: (0.0, 0.6), OPTIMIZER: (0.5, 1.0), "inference": (0.0, 0.4)}
"""How far away what an operation reads may be, from near (0) to far (1), by the name of a phase's overhead.

Most of what an operation reads was made just before. An optimizer reads what was last touched a step ago; without
gradients nothing is kept, and results go to where others just were.
"""
_SAVE_EVERY = 2.0
"""Seconds; what was timed since is lost if the process is killed."""

_SPARED = 0.01
"""Share of a step up to which operations may be missing from a table: they are bounded. A deep model told from shallow
ones has small ones that only those have."""

Counts = Counter[tuple[str, str]]
"""How often each (phase, signature) runs in a step."""
Progress = Callable[[int, int], None]
"""Told of (operations timed, operations to time)."""


def counts_of(kinds: Mapping[Kind, int]) -> Counts:
    """How often each distinct operation of a record runs; the record has signatures."""
    counts: Counts = Counter()
    for kind, count in kinds.items():
        for part in single(kind.signature) if kind.signature else ():
            counts[kind.phase, part] += count
    return Counter({key: count for key, count in counts.items() if count})


def missing(counts: Counts, table: Timings) -> list[str]:
    """Distinct operations of which the table knows nothing yet."""
    distinct = dict.fromkeys(signature for _, signature in counts)
    return [s for s in distinct if s not in table.operations and s not in table.refused]


def time_missing(
    counts: Counts,
    table: Timings,
    progress: Progress | None = None,
    time_one: Callable[[str], Timing] = time_operation,
) -> int:
    """Time what the table lacks, and how many that were; what was timed is saved even if this is stopped."""
    todo, saved = missing(counts, table), monotonic()
    try:
        for done, signature in enumerate(todo):
            if progress is not None:
                progress(done, len(todo))
            try:
                table.operations[signature] = time_one(signature)
            except RemakeError as error:
                table.refused[signature] = str(error)
            if monotonic() - saved > _SAVE_EVERY:
                table.save()
                saved = monotonic()
    finally:
        if todo:
            table.save()
    if progress is not None and todo:
        progress(len(todo), len(todo))
    return len(todo)


def measure_overheads(
    table: Timings, measured: Iterable[tuple[Counts, Mapping[str, float]]], names: Mapping[str, str]
) -> None:
    """What the program adds to each operation, from reference models: their counts, and the seconds of their phases.

    Args:
        table: knows all of their operations; the overheads are entered and saved.
        measured: of each reference, counts and seconds by phase.
        names: phases to the names of their overheads in the table.
    """
    found: dict[str, list[float]] = {name: [] for name in names.values()}
    for counts, seconds in measured:
        for phase, name in names.items():
            low, high = _operations(counts, table, phase, DISTANCE[name])
            units = sum(count for (at, _), count in counts.items() if at == phase)
            found[name].append((seconds[phase] - (low + high) / 2) / max(units, 1))
    table.overheads |= {name: (min(each), max(each)) for name, each in found.items() if each}
    table.save()


def overhead_names(mode: str) -> dict[str, str]:
    """Phases of a mode, and how their overheads are called in the table."""
    return {phase: phase for phase in PHASES} if mode == "train" else {FORWARD: "inference"}


def predicted(kinds: Mapping[Kind, int], table: Timings, mode: str, precision: str, threads: int) -> StepTime | None:
    """The interval of a step as this machine's table has it; None: the table lacks something that matters."""
    counts, names = counts_of(kinds), overhead_names(mode)
    if not counts or any(name not in table.overheads for name in names.values()):
        return None
    lacking = set(missing(counts, table))
    untimed = _of(kinds, lacking | set(table.refused))
    bounds = {kind: _bound(kind, precision, threads) for kind in untimed}
    phases: dict[str, tuple[float, float]] = {}
    for phase, name in names.items():
        units = sum(count for (at, _), count in counts.items() if at == phase)
        if units:
            low, high = _operations(counts, table, phase, DISTANCE[name])
            low, high = low + units * table.overheads[name][0], high + units * table.overheads[name][1]
            high += sum(abs(count) * bounds[kind] for kind, count in untimed.items() if kind.phase == phase)
            phases[phase] = (max(low, 0.0) * (1 - MARGIN), high * (1 + MARGIN))
    low, high = (sum(column) for column in zip(*phases.values(), strict=True))
    spared = sum(abs(count) * bounds[kind] for kind, count in _of(kinds, lacking).items())
    if spared > _SPARED * high:
        return None
    bounded = Counter[str]()
    for kind, count in untimed.items():
        bounded[kind.name] += count
    return StepTime(low, high, CALIBRATED, phases, dict(bounded))


def _of(kinds: Mapping[Kind, int], signatures: set[str]) -> dict[Kind, int]:
    """Those of which a part has one of these signatures."""
    if not signatures:
        return {}
    return {k: n for k, n in kinds.items() if k.signature and not signatures.isdisjoint(single(k.signature))}


def _bound(kind: Kind, precision: str, threads: int) -> float:
    """Most seconds of an operation that was not timed, as a data sheet has it."""
    return seconds_of(kind, rated(this_machine(), threads), precision).high


def _operations(counts: Counts, table: Timings, phase: str, distance: tuple[float, float]) -> tuple[float, float]:
    """Seconds of a phase's operations alone."""
    timed = [(n, table.operations[s]) for (at, s), n in counts.items() if at == phase and s in table.operations]
    each = [(n, timing.between(*distance)) for n, timing in timed]
    return sum(n * low for n, (low, _) in each), sum(n * high for n, (_, high) in each)
