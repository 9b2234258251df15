"""What a report says, as plain data: where it comes from is the caller's business."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from patchword.tasks.metrics import Confusion


@dataclass(frozen=True, eq=False)
class Shown:
    """A picture, and what was said of it."""

    image: np.ndarray
    """uint8 [h, w, 3]."""
    prediction: str
    """What the model said."""
    references: tuple[str, ...] = ()
    """What people said, where that is known."""
    correct: bool | None = None
    """Whether the model is right, where that is known."""
    attention: Sequence[tuple[str, np.ndarray]] | None = None
    """Each word of the prediction, and how much it looked at each part of the whole picture: float [rows, columns]."""
    read: str | None = None
    """What the model read beside the picture; None: nothing."""

    def __post_init__(self) -> None:
        for word, weights in self.attention or ():
            if weights.ndim != 2 or not weights.size:
                raise ValueError(f"attention of {word!r} should be [rows, columns], got {list(weights.shape)}")


@dataclass(frozen=True)
class Told:
    """A text, and what was said of it."""

    read: str
    """The text."""
    prediction: str
    """What the model said."""
    references: tuple[str, ...] = ()
    """What people said."""


@dataclass(frozen=True)
class Result:
    """How good the model is on a split."""

    split: str
    """Its name."""
    metrics: Mapping[str, float]
    """By name."""
    count: int
    """Samples looked at."""
    confusion: Confusion | None = None
    """Which classes were taken for which, where there are classes."""


@dataclass(frozen=True)
class Cost:
    """What the model and its training took; None: not known."""

    parameters: int | None = None
    """Trained numbers of the whole model."""
    components: Mapping[str, int] = field(default_factory=dict)
    """How many of them each part has."""
    seconds: float | None = None
    """Time of training."""
    steps: int | None = None
    """Optimizer steps."""
    samples: int | None = None
    """Samples seen, counted as often as they were seen."""
    tokens: int | None = None
    """Text tokens seen, counted likewise."""


@dataclass(frozen=True, eq=False)
class Report:
    """Everything that a page about a run shows. Parts that are empty are left out of the page."""

    title: str
    """What to call the run."""
    results: Sequence[Result] = ()
    """Quality by split; the first gives the headline."""
    pictures: Sequence[Shown] = ()
    """Examples that were not trained on."""
    texts: Sequence[Told] = ()
    """Examples of texts that were not trained on, where there are no pictures."""
    metrics: Sequence[Mapping[str, Any]] = ()
    """Lines of `metrics.jsonl`, as `read_metrics` gives them."""
    cost: Cost = Cost()
    """What it took."""
    config_yaml: str = ""
    """The complete configuration."""
    environment: Mapping[str, Any] = field(default_factory=dict)
    """Where it ran: versions, machine."""
    notes: Sequence[str] = ()
    """What a reader must know beside the figures, a sentence each."""
