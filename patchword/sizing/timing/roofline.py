"""How long a step takes on a device that is not at hand: an interval from its data sheet. docs/sizing/time.md says why.

An operation cannot be faster than its arithmetic and its bytes allow, and is seldom slower than both in turn at a poor
share of what the sheet promises. On an accelerator the program that starts the operations runs beside them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from patchword.config import UserError
from patchword.sizing.planning.devices import Device
from patchword.sizing.tracing.kinds import Kind
from patchword.sizing.tracing.record import PHASES

CALIBRATED, DATA_SHEET = "calibrated", "data sheet"


class StepTime(NamedTuple):
    """How long a step takes. Reading data is not in it."""

    low: float
    """Seconds at least."""
    high: float
    """Seconds at most."""
    source: str
    """`calibrated`: from operations timed on this machine; `data sheet`: from what a device's maker promises."""
    phases: dict[str, tuple[float, float]]
    """The same of each phase."""
    bounded: dict[str, int]
    """Operations that could not be timed, with how often they run; what they take is bounded by a data sheet."""

    @property
    def middle(self) -> float:
        """Seconds in the middle of the interval."""
        return (self.low + self.high) / 2

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `patchword size --json` prints it under `time`."""
        return {
            "step_seconds": [self.low, self.high],
            "source": self.source,
            "phases": {name: list(seconds) for name, seconds in self.phases.items()},
            "bounded": self.bounded,
        }


class Range(NamedTuple):
    """Least and most."""

    low: float
    high: float


class Shares(NamedTuple):
    """How much of its sheet a kind of device delivers, and what each operation costs besides."""

    matmul: Range
    """Of its FLOPs, in products."""
    vector: Range
    """Of its fp32 FLOPs, in everything else."""
    bandwidth: Range
    """Of its bytes a second; above 1 where caches hold what is moved."""
    kernel: Range
    """Seconds that the shortest operation takes."""
    start: Range
    """Seconds in which the program starts an operation, a view too."""
    beside: bool
    """Whether it starts them while others run."""


SHARES = {
    "cuda": Shares(Range(0.3, 0.9), Range(0.05, 0.6), Range(0.5, 1.2), Range(1e-6, 5e-6), Range(2e-6, 15e-6), True),
    "mps": Shares(Range(0.3, 0.9), Range(0.05, 0.6), Range(0.4, 1.1), Range(2e-6, 10e-6), Range(3e-6, 30e-6), True),
    "cpu": Shares(Range(0.3, 1.25), Range(0.015, 0.3), Range(0.4, 2.0), Range(0.0, 0.0), Range(1e-6, 15e-6), False),
}


def roofline(kinds: Mapping[Kind, int], device: Device, precision: str = "fp32", threads: int = 1) -> StepTime:
    """The interval of a step of such operations, on a device of which only the data sheet is known.

    Args:
        kinds: a record's, as `kinds_of` counts them.
        device: a row of the table of devices; `this-machine` is rated by its vector unit and `threads`.
        precision: in which numbers products are computed: fp32, bf16, fp16.
        threads: that a CPU runs on.

    Raises:
        UserError: the sheet says nothing of such numbers, or of the bandwidth.
    """
    device = rated(device, threads)
    sums: dict[str, list[float]] = {}
    start = SHARES[device.kind].start
    for kind, count in kinds.items():
        each = (*seconds_of(kind, device, precision), *start)
        before = sums.get(kind.phase, [0.0] * len(each))
        sums[kind.phase] = [total + count * seconds for total, seconds in zip(before, each, strict=True)]
    phases = {phase: _phase(sums[phase], SHARES[device.kind].beside) for phase in PHASES if phase in sums}
    low, high = (sum(column) for column in zip(*phases.values(), strict=True)) if phases else (0.0, 0.0)
    return StepTime(low, high, DATA_SHEET, phases, {})


def _phase(sums: list[float], beside: bool) -> tuple[float, float]:
    """Work and starts, at the same time or one after the other."""
    low, high, start_low, start_high = sums
    return (max(low, start_low), max(high, start_high)) if beside else (low + start_low, high + start_high)


def seconds_of(kind: Kind, device: Device, precision: str) -> Range:
    """Seconds of one such operation on a device, without its start; views take none.

    Raises:
        UserError: the sheet says nothing of such numbers, or of the bandwidth.
    """
    moved = kind.read + kind.written
    if not moved and not kind.work.hardware and not kind.work.vector:
        return Range(0.0, 0.0)
    shares, peak, bandwidth = SHARES[device.kind], _peak(device, precision), device.bandwidth
    if bandwidth is None:
        raise UserError(f"the data sheet of {device.name} does not say how fast its memory is")
    fp32 = device.flops.get("fp32", peak)
    fastest = max(peak, device.flops.get("tf32", peak)) if "convolution" in kind.name else peak
    low = max(
        kind.work.hardware / (fastest * shares.matmul.high),
        kind.work.vector / (fp32 * shares.vector.high),
        moved / (bandwidth * shares.bandwidth.high),
        shares.kernel.low,
    )
    high = (
        kind.work.hardware / (peak * shares.matmul.low)
        + kind.work.vector / (fp32 * shares.vector.low)
        + moved / (bandwidth * shares.bandwidth.low)
        + shares.kernel.high
    )
    return Range(low, high)


def _peak(device: Device, precision: str) -> float:
    if precision not in device.flops:
        known = ", ".join(device.flops) or "none"
        raise UserError(f"the data sheet of {device.name} says nothing of {precision}: there is {known}")
    return device.flops[precision]


# ------------------------------------------------------------------ a CPU without a sheet

_FLOPS_A_CYCLE = {"AVX512": 64, "AVX2": 32, "NEON": 16, "SVE256": 32}
"""fp32 FLOPs of one core: two units that multiply and add. Others: eight."""
_BANDWIDTH = 12e9
"""Bytes a second that one thread moves."""
_MOST_THREADS = 6
"""Threads that fill a socket's memory channels."""


def rated(device: Device, threads: int) -> Device:
    """A CPU of which nothing is stated, rated by its vector unit, its clock and the threads; others as they are."""
    if device.kind != "cpu" or device.flops:
        return device
    import torch

    cycle = _FLOPS_A_CYCLE.get(torch.backends.cpu.get_cpu_capability(), 8)
    fp32 = cycle * _hertz() * threads
    flops = {"fp32": fp32, "bf16": fp32, "fp16": fp32}
    return device._replace(flops=flops, bandwidth=_BANDWIDTH * min(threads, _MOST_THREADS))


def _hertz() -> float:
    """Clock of the first core; 2.5 GHz where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 2.5e9
    found = [line.partition(":")[2] for line in lines if line.startswith("cpu MHz")]
    return float(found[0]) * 1e6 if found else 2.5e9
