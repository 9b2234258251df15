"""A run's step predicted from this machine's table of timings, which is filled first where it lacks something."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import NamedTuple

import torch

from patchword.config import RunConfig
from patchword.models.presets import load_config
from patchword.sizing.planning.devices import this_machine
from patchword.sizing.size import Sizing
from patchword.sizing.timing.calibrate import (
    Progress,
    counts_of,
    is_ready,
    measure_overheads,
    measure_shares,
    missing,
    predicted,
    time_missing,
)
from patchword.sizing.timing.roofline import StepTime, roofline
from patchword.sizing.timing.timings import Timings
from patchword.sizing.timing.verify import Verification, held_against, timed_against
from patchword.sizing.tracing.kinds import Kinds, kinds_of
from patchword.training.real_step import RealStep
from patchword.training.rehearsed import MODES, rehearsal_of

_NARROW = {"model.image.dim": 32, "model.text.dim": 32, "model.trunk.dim": 32, "model.text.vocab_size": 64}


class Reference(NamedTuple):
    """A model that is run to learn what operations alone do not tell."""

    preset: str
    batch: int
    narrow: bool = False


NARROW = [Reference(p, 1, True) for p in ("captioner-tiny", "captioner-prefix-small", "layout-merged-attention")]
"""Nearly all of their time is what the program adds."""
ORDINARY = [Reference("captioner-tiny", 8), Reference("captioner-prefix-small", 2), Reference("layout-late-fusion", 12)]
_STEPS = 9


class Calibration(NamedTuple):
    """What calibrating a configuration found."""

    time: StepTime
    timed: int
    """Operations that were timed for it."""
    reused: int
    """Distinct operations that the table knew before."""
    refused: dict[str, str]
    """Operations that cannot be remade, and why."""
    path: str
    """The table."""


def threads_of(run: RunConfig) -> int:
    """CPU threads that a run computes with."""
    return run.train.threads or torch.get_num_threads()


@contextmanager
def computing_with(threads: int) -> Iterator[None]:
    """torch computes with so many threads inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def signed_kinds(run: RunConfig, mode: str, batch: int) -> Kinds:
    """A step's operations, which say what makes them distinct."""
    return kinds_of(MODES[mode](rehearsal_of(run, batch, signatures=True, mode=mode), run, batch).ops)


def calibrated(run: RunConfig, mode: str, batch: int, progress: Progress | None = None) -> Calibration:
    """Time what the table lacks of a run's step, and predict it. What was timed is kept if this is stopped."""
    threads = threads_of(run)
    kinds = signed_kinds(run, mode, batch)
    counts = counts_of(kinds)
    with computing_with(threads):
        table = Timings.load(threads)
        lacking = len(missing(counts, table))
        if is_ready(table, mode):
            time_missing(counts, table, progress)
        else:
            references = {one: counts_of(signed_kinds(_run_of(one), mode, one.batch)) for one in (*NARROW, *ORDINARY)}
            time_missing(sum(references.values(), counts), table, progress)
            measure_overheads(table, [(references[one], _seconds(one, mode)) for one in NARROW], mode)
            measure_shares(table, [(references[one], _seconds(one, mode)) for one in ORDINARY], mode)
        found = predicted(kinds, table, mode, run.train.precision, threads)
    assert found is not None
    distinct = {signature for _, signature in counts}
    refused = {signature: table.refused[signature] for signature in distinct if signature in table.refused}
    return Calibration(found, lacking, len(distinct) - lacking, refused, str(table.path))


def has_timings(run: RunConfig) -> bool:
    """Whether anything was timed on this machine with the threads of a run."""
    return bool(Timings.load(threads_of(run)).operations)


def known_time(kinds: Kinds, run: RunConfig, mode: str) -> StepTime:
    """The interval of a step: from the table if it covers the run, else from what a processor of this kind can do."""
    threads = threads_of(run)
    found = predicted(kinds, Timings.load(threads), mode, run.train.precision, threads)
    return found or roofline(kinds, this_machine(), run.train.precision, threads)


def verified(run: RunConfig, mode: str, batch: int, sizing: Sizing, steps: int) -> Verification:
    """A step as it was sized beside the same step run here: the median of `steps`, and the peak of one more."""
    assert sizing.time is not None
    with computing_with(threads_of(run)), RealStep(run, mode, batch) as real:
        seconds, peaks = medians(real.seconds(steps)), real.peaks()
    time = timed_against(sizing.time, seconds)
    return Verification(mode, batch, steps, sizing.time.source, time, held_against(sizing.by_phase, peaks))


def medians(steps: Sequence[dict[str, float]]) -> dict[str, float]:
    """Of each phase."""
    return {phase: median(step[phase] for step in steps) for phase in steps[0]}


def _run_of(one: Reference) -> RunConfig:
    return load_config(one.preset, _NARROW if one.narrow else {})


def _seconds(one: Reference, mode: str) -> dict[str, float]:
    """Of each phase."""
    with RealStep(_run_of(one), mode, one.batch) as step:
        return medians(step.seconds(_STEPS))
