"""How long a step takes on this machine: the sum of its operations, each timed once, and what the program adds.

What Python and the graph of gradients add to each operation is measured on narrow reference models: what their steps
take beyond the sum of their operations. What the sum then still lacks or has too much of (caches that are shared,
memory that the system takes and gives back) is measured on ordinary ones, as a share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from time import monotonic

from patchword.sizing.planning.devices import this_machine
from patchword.sizing.timing.roofline import CALIBRATED, StepTime, rated, seconds_of
from patchword.sizing.timing.timings import Timings
from patchword.sizing.timing.unique import RemakeError, Timing, time_operation
from patchword.sizing.tracing.kinds import Kind
from patchword.sizing.tracing.record import BACKWARD, FORWARD, OPTIMIZER, PHASES
from patchword.sizing.tracing.signature import single

MARGIN = 0.05
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
Measured = Sequence[tuple[Counts, Mapping[str, float]]]
"""Counts of models' steps, and the seconds of their phases."""
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


def measure_overheads(table: Timings, measured: Measured, mode: str) -> None:
    """What the program adds to each operation, from models that are nearly nothing but program.

    Args:
        table: knows all of their operations; the overheads are entered and saved.
        measured: of each model.
        mode: of its steps.
    """
    for phase, name in overhead_names(mode).items():
        found: list[float] = []
        for counts, seconds in measured:
            low, high = _operations(counts, table, phase, DISTANCE[name])
            found.append((seconds[phase] - (low + high) / 2) / max(_units(counts, phase), 1))
        table.overheads[name] = min(found), max(found)
    table.save()


def measure_shares(table: Timings, measured: Measured, mode: str) -> None:
    """What steps of ordinary models take as a share of their operations and what the program adds.

    Args:
        table: knows all of their operations and the overheads; the shares are entered and saved.
        measured: of each model.
        mode: of its steps.
    """
    for phase, name in overhead_names(mode).items():
        found = [seconds[phase] * 2 / sum(_summed(counts, table, phase, name)) for counts, seconds in measured]
        table.shares[name] = min(found), max(found)
    table.save()


def overhead_names(mode: str) -> dict[str, str]:
    """Phases of a mode, and how their overheads are called in the table."""
    return {phase: phase for phase in PHASES} if mode == "train" else {FORWARD: "inference"}


def is_ready(table: Timings, mode: str) -> bool:
    """Whether reference models were run in this mode."""
    return all(name in table.overheads and name in table.shares for name in overhead_names(mode).values())


def predicted(kinds: Mapping[Kind, int], table: Timings, mode: str, precision: str, threads: int) -> StepTime | None:
    """The interval of a step as this machine's table has it; None: the table lacks something that matters."""
    counts, names = counts_of(kinds), overhead_names(mode)
    if not counts or not is_ready(table, mode):
        return None
    lacking = set(missing(counts, table))
    untimed = _of(kinds, lacking | set(table.refused))
    bounds = {kind: _bound(kind, precision, threads) for kind in untimed}
    phases: dict[str, tuple[float, float]] = {}
    for phase, name in names.items():
        if _units(counts, phase):
            low, high = _summed(counts, table, phase, name)
            high += sum(abs(count) * bounds[kind] for kind, count in untimed.items() if kind.phase == phase)
            least, most = table.shares[name]
            phases[phase] = (low * least * (1 - MARGIN), high * most * (1 + MARGIN))
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


def _units(counts: Counts, phase: str) -> int:
    return sum(count for (at, _), count in counts.items() if at == phase)


def _summed(counts: Counts, table: Timings, phase: str, name: str) -> tuple[float, float]:
    """Seconds of a phase's operations with what the program adds."""
    low, high = _operations(counts, table, phase, DISTANCE[name])
    least, most = (_units(counts, phase) * overhead for overhead in table.overheads[name])
    return max(low + least, 0.0), max(high + most, 0.0)


def _operations(counts: Counts, table: Timings, phase: str, distance: tuple[float, float]) -> tuple[float, float]:
    """Seconds of a phase's operations alone."""
    timed = [(n, table.operations[s]) for (at, s), n in counts.items() if at == phase and s in table.operations]
    each = [(n, timing.between(*distance)) for n, timing in timed]
    return sum(n * low for n, (low, _) in each), sum(n * high for n, (_, high) in each)
