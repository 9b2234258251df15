"""Where a training stands: what a checkpoint holds beside tensors, as plain data."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from patchword.data.loader import START, Position


class Best(NamedTuple):
    """The evaluation whose weights are the run's model."""

    step: int
    metrics: dict[str, float]


@dataclass
class TrainState:
    """Grows with training; `state.json` is its `to_dict`."""

    step: int = 0
    """Steps done."""
    position: Position = START
    """Where the next batch comes from."""
    samples: int = 0
    """Samples learnt from."""
    elapsed: float = 0.0
    """Seconds of training, without evaluating and saving."""
    evaluated: int | None = None
    """Step of the last evaluation."""
    best: Best | None = None
    """The best evaluation."""
    stale: int = 0
    """Evaluations since the best one."""
    meter: dict[str, float] = field(default_factory=dict)
    """Sums since the last line of metrics."""
    bad: dict[str, Any] = field(default_factory=dict)
    """Bad samples so far."""
    scaler: dict[str, Any] = field(default_factory=dict)
    """The loss scale, with fp16."""
    metrics_size: int = 0
    """Bytes of `metrics.jsonl` so far."""
    data: dict[str, Any] = field(default_factory=dict)
    """Number of training examples, and a digest of their lengths: resuming with other data is refused."""

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        data = dataclasses.asdict(self)
        data["position"] = self.position._asdict()
        data["best"] = None if self.best is None else self.best._asdict()
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> TrainState:
        """The inverse of `to_dict`."""
        best = None if data["best"] is None else Best(**data["best"])
        return cls(**{**data, "position": Position(**data["position"]), "best": best})
