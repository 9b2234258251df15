"""Choices of what turns gradients into steps, and of how the learning rate changes."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt

from patchword.config.core import Config
from patchword.config.numbers import Count, NonNegative, Positive, PositiveFloat, Share

Decay = Annotated[float, Ge(0), Lt(1)]

# ------------------------------------------------------------------ optimizers


class AnyOptimizerConfig(Config, family="optimizer"):
    """What turns gradients into steps."""

    lr: PositiveFloat = 1e-3
    """Highest learning rate."""
    weight_decay: NonNegative = 0.05
    """Pull towards zero, as a share of the learning rate."""
    decays: Literal["maps", "matrices", "all"] = "maps"
    """What is pulled: maps: weights of linear maps and convolutions that are no table; matrices: tables of embeddings
    and places, too (nanoGPT); all: also norms, offsets and single vectors (torch's optimizers as they come)."""
    rates: dict[str, NonNegative] = field(default_factory=dict)
    """Factor on the learning rate by path pattern: {"towers.image.*": 0.1}; the last that matches counts."""
    freeze: tuple[str, ...] = ()
    """Path patterns of parameters that are not trained."""


class OptimizerConfig(AnyOptimizerConfig, kind="adamw"):
    """AdamW (Loshchilov and Hutter 2019)."""

    betas: tuple[Decay, Decay] = (0.9, 0.98)
    """Decay of the running means of the gradient and of its square."""
    eps: PositiveFloat = 1e-8
    """Added to the root of the latter."""


class SGDConfig(AnyOptimizerConfig, kind="sgd"):
    """Steps along the gradient itself."""

    weight_decay: NonNegative = 0.0
    """Pull towards zero, as a share of the learning rate; with momentum it is part of what runs on."""
    momentum: Decay = 0.0
    """Decay of a running sum of gradients that is followed in their place; 0: none."""


class MuonConfig(OptimizerConfig, kind="muon"):
    """Muon (Jordan et al. 2024) for matrices within blocks: a step has all directions alike. AdamW for the rest."""

    matrix_lr: PositiveFloat = 0.02
    """Highest learning rate of those matrices."""
    momentum: Decay = 0.95
    """Decay of their running mean of the gradient."""
    iterations: Annotated[int, Gt(0)] = 4
    """Polynomials that make the directions of a step alike (Polar Express, Amsel et al. 2025)."""


# ------------------------------------------------------------------ schedules


class ScheduleConfig(Config, family="schedule"):
    """How the learning rate changes, as a factor on its highest value."""

    warmup: Count = 100
    """Steps over which it rises from zero."""


class CosineScheduleConfig(ScheduleConfig, kind="cosine"):
    """Half a cosine from 1 down to `final`."""

    final: Share = 0.0
    """The factor at the last step."""


class LinearScheduleConfig(ScheduleConfig, kind="linear"):
    """A straight line from 1 down to `final`."""

    final: Share = 0.0
    """The factor at the last step."""


class ConstantScheduleConfig(ScheduleConfig, kind="constant"):
    """Always 1 after the warm-up."""


class StepScheduleConfig(ScheduleConfig, kind="step"):
    """Down by the same factor again and again."""

    every: Positive = 1000
    """Steps between two falls."""
    factor: Share = 0.5
    """What each multiplies it by."""
