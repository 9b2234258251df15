"""What a training says, to `metrics.jsonl` and to people."""

from __future__ import annotations

from typing import Any

from patchword.config import TrainConfig
from patchword.data.batch import BadSample
from patchword.training.display import Display
from patchword.training.log import MetricsFile
from patchword.training.meter import Clock
from patchword.training.state import TrainState


class Reporter:
    """Writes lines of metrics.

    Args:
        config: how long the training is to go on.
        state: where it stands.
        clock: its time.
        metrics: the file.
        display: shows it to people.
    """

    def __init__(
        self, config: TrainConfig, state: TrainState, clock: Clock, metrics: MetricsFile, display: Display
    ) -> None:
        self.config, self.state, self.clock = config, state, clock
        self.metrics, self.display = metrics, display

    def figures(self, kind: str, **figures: Any) -> None:
        """A line for the file and for people."""
        self.display.log(self._write(kind, figures), self._left())

    def bad_sample(self, sample: BadSample) -> None:
        """Name a sample that cannot be read."""
        self._write("bad", sample._asdict())
        self.display.say(f"bad sample left out: {sample.id}: {sample.reason}: {sample.message}")

    def _write(self, kind: str, figures: dict[str, Any]) -> dict[str, Any]:
        state = self.state
        line = {"kind": kind, "step": state.step, "epoch": state.position.epoch, "time": self.clock.elapsed} | figures
        try:
            self.metrics.write(line)
        except OSError as error:  # a lost line is no reason to stop
            self.display.say(f"warning: {error}")
        return line

    def _left(self) -> float:
        """Seconds of training to go, at the pace so far."""
        elapsed, config = self.clock.elapsed, self.config
        by_steps = elapsed / max(self.state.step, 1) * (config.steps - self.state.step)
        return by_steps if config.minutes is None else max(0.0, min(by_steps, config.minutes * 60 - elapsed))
