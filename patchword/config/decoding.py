"""Choices of how text is generated."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Gt

from patchword.config.core import Config
from patchword.config.numbers import Count, NonNegative, Positive, PositiveFloat, Share


class DecodeConfig(Config, family="decoding"):
    """How text is generated."""

    max_len: Positive = 40
    """Most tokens that are generated."""
    repetition_penalty: PositiveFloat = 1.0
    """Divides the score of tokens already said (Keskar et al. 2019); 1: no penalty."""


class GreedyDecodeConfig(DecodeConfig, kind="greedy"):
    """The likeliest token at each step."""


class SampleDecodeConfig(DecodeConfig, kind="sample"):
    """A random token at each step."""

    temperature: PositiveFloat = 1.0
    """Divides the scores; below 1 the likely become likelier."""
    top_k: Positive | None = None
    """Only this many likeliest tokens stay; null: all."""
    top_p: Annotated[float, Gt(0)] = 1.0
    """Only the fewest likeliest tokens whose chances add up to this stay (Holtzman et al. 2019)."""
    min_p: Share = 0.0
    """Only tokens at least this share as likely as the likeliest stay."""
    seed: Count = 0
    """Seed of the choice; sample i of a batch does not depend on the others."""


class BeamDecodeConfig(DecodeConfig, kind="beam"):
    """The best of several texts kept side by side."""

    num_beams: Positive = 4
    """How many."""
    length_penalty: NonNegative = 1.0
    """Finished texts are compared by log-probability / length ** this."""
