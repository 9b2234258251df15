"""Plans for a run: its own step rehearsed, then put on a device, or on many."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from torch import nn

from patchword.config import RunConfig, TextTowerConfig, UserError
from patchword.nn.block import Block
from patchword.sizing.planning.attention import Watched, backend
from patchword.sizing.planning.devices import THIS_MACHINE, Device
from patchword.sizing.planning.fit import largest_batch
from patchword.sizing.planning.overheads import Overhead, overheads, room
from patchword.sizing.planning.plan import Fitting, Kernel, Memory, Plan, Price, budget, step_with
from patchword.sizing.planning.scale import (
    DDP,
    TOGETHER,
    Interval,
    Share,
    Step,
    Weights,
    collectives,
    every,
    fewest_ranks,
    share,
    step_of,
    talk,
    weights_of,
)
from patchword.sizing.timing.roofline import StepTime, roofline
from patchword.sizing.tracing.kinds import Kinds, kinds_of
from patchword.sizing.tracing.record import Record
from patchword.training.calibration import known_time, threads_of
from patchword.training.rehearsed import rehearsal_of, training_of

Peaks = Callable[[RunConfig, int], dict[str, int]]
"""A run and the samples of a batch to the most bytes of each phase."""


class Rehearsed(NamedTuple):
    """A step of a run, operation by operation, and what it was done with."""

    run: RunConfig
    batch: int
    model: nn.Module
    record: Record
    watched: Watched

    @property
    def kinds(self) -> Kinds:
        """Its operations by what their time depends on."""
        return kinds_of(self.record.ops)


def rehearsed(run: RunConfig, batch: int) -> Rehearsed:
    """One step on `batch` samples, nothing allocated.

    Raises:
        UserError: there is no sample, or the model looks at what it has computed.
    """
    if batch < 1:
        raise UserError(f"a plan needs a batch of at least 1, got {batch}")
    rehearsal = rehearsal_of(run, batch, signatures=True)
    with Watched() as watched:
        record = training_of(rehearsal, run, batch)
    return Rehearsed(run, batch, rehearsal.model, record, watched)


def tokens_of(run: RunConfig) -> int:
    """Text tokens of one sample, every text as long as can be."""
    towers = run.model.towers.values()
    return run.data.batch.captions * sum(tower.max_len for tower in towers if isinstance(tower, TextTowerConfig))


def time_of(step: Rehearsed, device: Device) -> StepTime:
    """On this machine from what was timed here, if it was; else from the device's data sheet."""
    if device.name == THIS_MACHINE:
        return known_time(step.kinds, step.run, "train")
    return roofline(step.kinds, device, step.run.train.precision, threads_of(step.run))


def kernels_of(step: Rehearsed, device: Device) -> tuple[Kernel, ...]:
    """Fused attention and what would run it there."""
    precision = step.run.train.precision
    return tuple(
        Kernel(call.queries, call.keys, call.head_dim, call.masked, backend(call, device, precision), count)
        for call, count in step.watched.calls.items()
    )


def memory_of(step: Rehearsed, device: Device) -> Memory:
    """What the device has to hold."""
    peak, place = step.record.peak()
    blocks = [block.size for block in step.record.there(place)]
    return Memory(peak, overheads(device, peak, blocks), device.memory_bytes)


def plan_of(
    run: RunConfig,
    device: Device,
    devices: int = 1,
    samples: int | None = None,
    tokens: int | None = None,
    price: Price | None = None,
    batch: int | None = None,
    across: Interval | None = None,
) -> Plan:
    """What the training of a run takes; several devices each have a copy of the model and a batch (DDP).

    Args:
        run: the run; its own steps are the budget where none is given.
        device: a row of the table.
        devices: how many.
        samples: to train on.
        tokens: of text to train on.
        price: of an hour of one device.
        batch: samples of one device at a time; None: as many as `data.batch.size`.
        across: bytes a second between devices; None: as the table says, beyond eight as networks are.

    Raises:
        UserError: one of these is wrong, or no public figure says what is needed of the device.
    """
    if devices < 1:
        raise UserError(f"--devices: at least 1, got {devices}")
    if run.train.epochs is not None and samples is None and tokens is None:
        raise UserError("train.epochs: only the data says how many samples they have: give --samples, of all epochs")
    size = run.data.batch.size if batch is None else batch
    step = rehearsed(run, size)
    every_step = size * run.train.accumulate * devices
    wanted = budget(samples, tokens, run.train.steps * every_step, tokens_of(run))
    time = time_of(step, device)
    memory, talking = memory_of(step, device), Interval(0.0, 0.0)
    if devices > 1:
        weights = weights_of(step.model, Block)
        ddp = share(weights, step_of(step.record), DDP, devices)
        talking = talk(ddp.sent, devices, collectives(weights, DDP), device, across)
        copies = Overhead("gradient buckets", 0, ddp.gradients, "DDP's copies, unless gradients are views of them")
        memory = memory._replace(overheads=(*memory.overheads, copies))
    return Plan(
        device,
        devices,
        run.train.precision,
        size,
        every_step,
        -(-wanted // every_step),
        wanted,
        tokens_of(run),
        memory,
        kernels_of(step, device),
        step_with(Interval(time.low, time.high), talking),
        talking,
        time.source,
        price,
    )


class Scaled(NamedTuple):
    """One rank's part under a strategy, and how long a step takes."""

    share: Share
    needed: Interval
    """Bytes on the device, with all that is beside tensors."""
    device_bytes: int
    talk_seconds: Interval
    step_seconds: Interval
    samples_per_second: Interval

    @property
    def fits(self) -> str:
        """`yes`, `no` or `perhaps`."""
        low, high = self.needed
        return "yes" if high <= self.device_bytes else "no" if low > self.device_bytes else "perhaps"

    def to_dict(self) -> dict[str, object]:
        """Plain data, as `patchword plan --scale --json` prints it."""
        return {
            **self.share.to_dict(),
            "needed_bytes": list(self.needed),
            "device_bytes": self.device_bytes,
            "fits": self.fits,
            "talk_seconds": list(self.talk_seconds),
            "step_seconds": list(self.step_seconds),
            "samples_per_second": list(self.samples_per_second),
        }


def scaled(
    run: RunConfig,
    device: Device,
    ranks: Sequence[int],
    batch: int | None = None,
    across: Interval | None = None,
    together: int = TOGETHER,
) -> list[Scaled]:
    """A run on many ranks, on paper, under each strategy.

    Args:
        run: the run.
        device: of each rank.
        ranks: counts of them.
        batch: samples of one rank; None: as many as `data.batch.size`.
        across: bytes a second of one rank to the others; None: as the table and networks have it.
        together: ranks of one machine.

    Raises:
        UserError: one of these is wrong, or no public figure says what is needed of the device.
    """
    size = run.data.batch.size if batch is None else batch
    step = rehearsed(run, size)
    weights, held, time = weights_of(step.model, Block), step_of(step.record), time_of(step, device)
    computing = Interval(time.low, time.high)
    rows = []
    for part in every(weights, held, ranks):
        starts = collectives(weights, part.strategy)
        talking = talk(part.sent, part.ranks, starts, device, across, together)
        seconds = step_with(computing, talking)
        low, high = (overheads(device, int(peak)) for peak in part.peak)
        needed = Interval(part.peak.low + sum(r.low for r in low), part.peak.high + sum(r.high for r in high))
        samples = size * run.train.accumulate * part.ranks
        speed = Interval(samples / seconds.high, samples / seconds.low)
        rows.append(Scaled(part, needed, device.memory_bytes, talking, seconds, speed))
    return rows


def fitting(run: RunConfig, where: Device | int, peaks: Peaks, target: int | None = None) -> Fitting:
    """The largest batch of a run, and what it takes to train on more.

    Args:
        run: the run.
        where: a device, or an amount of memory in bytes.
        peaks: sizes a step.
        target: samples of a step that are wanted.

    Raises:
        UserError: `target` is not positive, or the run is wrong.
    """
    if target is not None and target < 1:
        raise UserError(f"--target-batch: at least 1, got {target}")
    device = where if isinstance(where, Device) else None
    least, most = (where, where) if isinstance(where, int) else room(where)
    sure, perhaps = {}, {}
    for checkpointed in (False, True):
        variant = run.replace(train=run.train.replace(checkpoint_blocks=checkpointed, compile=False))
        of, known = partial(peaks, variant), {}
        sure[checkpointed] = largest_batch(of, least, known)
        perhaps[checkpointed] = largest_batch(of, most, known) if most != least else sure[checkpointed]
    ranks = None
    if not sure[True]:
        weights, held = _one_sample(run)
        ranks = fewest_ranks(weights, held, least)
    rows = overheads(device, least)
    return Fitting(sure, perhaps, target, ranks, device, where if isinstance(where, int) else where.memory_bytes, rows)


def _one_sample(run: RunConfig) -> tuple[Weights, Step]:
    """A step on one sample with blocks checkpointed."""
    step = rehearsed(run.replace(train=run.train.replace(checkpoint_blocks=True, compile=False)), 1)
    return weights_of(step.model, Block), step_of(step.record)
