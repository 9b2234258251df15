"""What was predicted of a step beside what it took."""

from __future__ import annotations

from typing import Any, NamedTuple

from patchword.sizing.timing.roofline import StepTime

BAR = 0.005
"""Share by which a predicted peak may differ from the measured one."""


class Seconds(NamedTuple):
    """Time of one phase, or of all."""

    low: float
    high: float
    measured: float
    """Median of the steps."""

    @property
    def inside(self) -> bool:
        """Whether the interval contains what was measured."""
        return self.low <= self.measured <= self.high

    @property
    def error(self) -> float:
        """Of the interval's middle, as a share of what was measured."""
        return (self.low + self.high) / (2 * self.measured) - 1


class Bytes(NamedTuple):
    """Most memory of one phase, or of all."""

    predicted: int
    measured: int

    @property
    def error(self) -> float:
        """As a share of what was measured."""
        return self.predicted / max(self.measured, 1) - 1

    @property
    def inside(self) -> bool:
        """Whether it is within the bar."""
        return abs(self.error) <= BAR


class Verification(NamedTuple):
    """A step, predicted and run."""

    mode: str
    batch: int
    steps: int
    source: str
    """Where the predicted time comes from."""
    seconds: dict[str, Seconds]
    """By phase; `step` is all of them."""
    memory: dict[str, Bytes]
    """The same."""

    @property
    def ok(self) -> bool:
        """Whether the step as a whole was as predicted."""
        return self.seconds["step"].inside and self.memory["step"].inside

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `patchword verify --json` prints it."""
        return {
            "mode": self.mode,
            "batch": self.batch,
            "steps": self.steps,
            "source": self.source,
            "ok": self.ok,
            "seconds": {p: {**s._asdict(), "error": s.error, "inside": s.inside} for p, s in self.seconds.items()},
            "memory": {p: {**b._asdict(), "error": b.error, "inside": b.inside} for p, b in self.memory.items()},
        }


def timed_against(time: StepTime, measured: dict[str, float]) -> dict[str, Seconds]:
    """Each phase and the whole step."""
    found = {phase: Seconds(*time.phases.get(phase, (0.0, 0.0)), seconds) for phase, seconds in measured.items()}
    return {**found, "step": Seconds(time.low, time.high, sum(measured.values()))}


def held_against(predicted: dict[str, int], measured: dict[str, int]) -> dict[str, Bytes]:
    """Each phase and the whole step."""
    found = {phase: Bytes(predicted.get(phase, 0), bytes_) for phase, bytes_ in measured.items()}
    most = Bytes(max(predicted.values(), default=0), max(measured.values(), default=0))
    return {**found, "step": most}
