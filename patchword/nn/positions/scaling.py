"""How rotary waves reach beyond the length of training. Built per axis: `config.build(width, theta)`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from patchword.config import (
    LinearRotaryScalingConfig,
    Llama3RotaryScalingConfig,
    NTKRotaryScalingConfig,
    RotaryScalingConfig,
    YarnRotaryScalingConfig,
    implements,
)


class RotaryScaling(ABC):
    """Waves to slower waves.

    Args:
        config: its settings.
        width: twice the number of waves.
        theta: base of their series.
    """

    gain: float = 1.0
    """Factor on what is turned: scores grow by its square."""

    def __init__(self, config: RotaryScalingConfig, width: int, theta: float) -> None:
        self.factor, self.width, self.theta = config.factor, width, theta

    @abstractmethod
    def __call__(self, turns: Tensor) -> Tensor:
        """How far each wave turns a step, fastest first; [width / 2] -> same."""


@implements(LinearRotaryScalingConfig)
class LinearRotaryScaling(RotaryScaling):
    """Every wave slower by the factor: the same as places divided by it (Chen et al. 2023)."""

    def __call__(self, turns: Tensor) -> Tensor:
        """[width / 2] -> same."""
        return turns / self.factor


@implements(NTKRotaryScalingConfig)
class NTKRotaryScaling(RotaryScaling):
    """theta x factor ** (width / (width - 2)): the fastest wave stays, the slowest is slower by the factor."""

    def __call__(self, turns: Tensor) -> Tensor:
        """[width / 2] -> same."""
        steps = torch.arange(len(turns), device=turns.device, dtype=turns.dtype) / max(len(turns) - 1, 1)
        return turns * self.factor**-steps


@implements(YarnRotaryScalingConfig)
class YarnRotaryScaling(RotaryScaling):
    """Fast waves stay, slow ones are slower by the factor, a linear ramp between; scores grow (Peng et al. 2023).

    The ramp is that of the authors' program, linear in the wave's number and between whole numbers; the paper's text
    has it linear in the number of turns.
    """

    def __init__(self, config: YarnRotaryScalingConfig, width: int, theta: float) -> None:
        super().__init__(config, width, theta)
        self.gain = 0.1 * math.log(config.factor) + 1.0
        low, high = (self._number(turns, config.trained_len) for turns in (config.beta_fast, config.beta_slow))
        self.low, self.high = max(math.floor(low), 0), min(math.ceil(high), width - 1)

    def _number(self, turns: float, length: int) -> float:
        """Which wave (not a whole number) turns this often over `length` places."""
        return self.width * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(self.theta))

    def __call__(self, turns: Tensor) -> Tensor:
        """[width / 2] -> same."""
        numbers = torch.arange(len(turns), device=turns.device, dtype=turns.dtype)
        if self.high > self.low:
            slow = ((numbers - self.low) / (self.high - self.low)).clamp(0, 1)
        else:  # no ramp: all waves, or none, are slow, or a step between two
            slow = (numbers > self.high).to(turns.dtype)
        return turns * (1 - slow) + turns / self.factor * slow


@implements(Llama3RotaryScalingConfig)
class Llama3RotaryScaling(RotaryScaling):
    """Fast waves stay, slow ones are slower by the factor, a ramp linear in their number of turns between."""

    def __init__(self, config: Llama3RotaryScalingConfig, width: int, theta: float) -> None:
        super().__init__(config, width, theta)
        self.trained_len, self.fast, self.slow = config.trained_len, config.beta_fast, config.beta_slow

    def __call__(self, turns: Tensor) -> Tensor:
        """[width / 2] -> same."""
        rounds = turns * self.trained_len / (2 * math.pi)
        kept = ((rounds - self.slow) / (self.fast - self.slow)).clamp(0, 1)
        return turns * kept + turns / self.factor * (1 - kept)
