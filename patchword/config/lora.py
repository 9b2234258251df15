"""Choices of low-rank adapters."""

from __future__ import annotations

from collections.abc import Iterator

from patchword.config.core import Config
from patchword.config.errors import Problem
from patchword.config.numbers import Dropout, Positive, PositiveFloat


class LoraConfig(Config):
    """Low-rank adapters on chosen linear maps, which then learn in place of all weights (Hu et al. 2021)."""

    rank: Positive = 8
    """Width of the bottleneck: an adapter has rank x (in + out) weights."""
    alpha: PositiveFloat = 16.0
    """What an adapter adds is scaled by alpha / rank."""
    dropout: Dropout = 0.0
    """Share of an adapter's input that is zeroed in training."""
    targets: tuple[str, ...] = ("*.q_proj", "*.v_proj")
    """Path patterns of linear maps that get one."""
    also: tuple[str, ...] = ()
    """Path patterns of other parameters that are trained, a new head's for example; the rest is frozen."""

    def problems(self) -> Iterator[Problem]:
        """No target."""
        if not self.targets:
            yield Problem("targets", "is empty: name the linear maps that get an adapter")
