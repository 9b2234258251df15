"""The learning rate's factor over a training."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from patchword.config import (
    ConstantScheduleConfig,
    CosineScheduleConfig,
    LinearScheduleConfig,
    ScheduleConfig,
    StepScheduleConfig,
    implements,
)


class Schedule(ABC):
    """A rise over `warmup` steps, then `decay`.

    Args:
        config: its shape.
        steps: steps of the whole training.
    """

    def __init__(self, config: ScheduleConfig, steps: int) -> None:
        self.warmup, self.steps = config.warmup, steps

    def factor(self, step: int, spent: float) -> float:
        """Factor on the highest rate at step `step` (the first is 1), when a share `spent` of the minutes is gone.

        The decay follows whichever of the two is further: the steps after the warm-up, or the clock.
        """
        rise = min(1.0, step / self.warmup) if self.warmup else 1.0
        after = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return rise * self.decay(min(1.0, max(0.0, after, spent)))

    @abstractmethod
    def decay(self, progress: float) -> float:
        """The factor after the warm-up, 0 <= progress <= 1."""


@implements(CosineScheduleConfig)
class CosineSchedule(Schedule):
    """Half a cosine (Loshchilov and Hutter 2017)."""

    def __init__(self, config: CosineScheduleConfig, steps: int) -> None:
        super().__init__(config, steps)
        self.final = config.final

    def decay(self, progress: float) -> float:
        """From 1 to `final`."""
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * progress)) / 2


@implements(LinearScheduleConfig)
class LinearSchedule(Schedule):
    """A straight line."""

    def __init__(self, config: LinearScheduleConfig, steps: int) -> None:
        super().__init__(config, steps)
        self.final = config.final

    def decay(self, progress: float) -> float:
        """From 1 to `final`."""
        return 1 + (self.final - 1) * progress


@implements(ConstantScheduleConfig)
class ConstantSchedule(Schedule):
    """No decay."""

    def decay(self, progress: float) -> float:
        """1."""
        del progress
        return 1.0


@implements(StepScheduleConfig)
class StepSchedule(Schedule):
    """Down by the same factor again and again."""

    def __init__(self, config: StepScheduleConfig, steps: int) -> None:
        super().__init__(config, steps)
        self.factor_of_each, self.every = config.factor, config.every

    def decay(self, progress: float) -> float:
        """`factor` to the power of the falls so far; the clock counts as the steps that it stands for."""
        before = round(progress * max(self.steps - self.warmup, 1)) + self.warmup - 1
        return self.factor_of_each ** (max(0, before) // self.every)
