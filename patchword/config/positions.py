"""Choices of how tokens know where they stand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Le, MultipleOf

from patchword.config.core import Config
from patchword.config.errors import Problem
from patchword.config.numbers import Positive, PositiveFloat


class PositionConfig(Config, family="position"):
    """How a token knows where it stands."""

    needs: ClassVar[frozenset[str]] = frozenset()
    """What attention must be able to do for this kind to work in it."""
    of_attention: ClassVar[bool] = False
    """Whether it changes scores only, so that without attention it says nothing."""

    def refusals(self, head_dim: int) -> Iterator[str]:
        """Why it cannot serve heads of this width; nothing where it can."""
        yield from ()


class NoPositionConfig(PositionConfig, kind="none"):
    """No positions: a set, or positions given elsewhere."""


class LearnedPositionConfig(PositionConfig, kind="learned"):
    """One learned vector a place, added to the token."""

    max_len: Positive | None = None
    """Places in the table; null: as many as the tower's input has (its max_len, or its grid of patches)."""
    interpolate: bool = False
    """Whether a picture's table is resized (bicubic) to pictures of another size than image_size; else those are
    refused."""
    zero_start: bool = False
    """Whether the table starts at zero (ViT's own first code); else it starts as the model's `init` says."""


class SinusoidalPositionConfig(PositionConfig, kind="sinusoidal"):
    """Sines and cosines added to the token (Vaswani et al. 2017); half the width for each axis of a picture."""

    theta: PositiveFloat = 10_000.0
    """The longest wavelength is 2 pi theta."""


class RotaryScalingConfig(Config, family="rotary scaling"):
    """How rotary angles reach beyond the length of training."""

    factor: Annotated[float, Ge(1)] = 2.0
    """How many times the trained length."""


class LinearRotaryScalingConfig(RotaryScalingConfig, kind="linear"):
    """Places divided by the factor (Chen et al. 2023, position interpolation)."""


class NTKRotaryScalingConfig(RotaryScalingConfig, kind="ntk"):
    """A larger base: the slowest wave is stretched by the factor, the fastest stays (bloc97 2023, NTK-aware)."""


class YarnRotaryScalingConfig(RotaryScalingConfig, kind="yarn"):
    """Slow waves stretched, fast ones kept, a ramp between, and scores a little larger (Peng et al. 2023)."""

    trained_len: Positive = 64
    """Length of training, in tokens (along each axis of a picture)."""
    beta_fast: PositiveFloat = 32.0
    """Waves that turn more often than this over `trained_len` stay."""
    beta_slow: PositiveFloat = 1.0
    """Waves that turn less often than this over `trained_len` are stretched by the whole factor."""

    def problems(self) -> Iterator[Problem]:
        """Bounds in the wrong order."""
        if self.beta_slow >= self.beta_fast:
            yield Problem("beta_slow", f"{self.beta_slow} should be less than beta_fast, {self.beta_fast}")


class Llama3RotaryScalingConfig(RotaryScalingConfig, kind="llama3"):
    """Slow waves stretched, fast ones kept, a ramp over the number of turns between (Dubey et al. 2024, Llama 3)."""

    trained_len: Positive = 64
    """Length of training, in tokens (along each axis of a picture)."""
    beta_fast: PositiveFloat = 4.0
    """Waves that turn more often than this over `trained_len` stay."""
    beta_slow: PositiveFloat = 1.0
    """Waves that turn less often than this over `trained_len` are stretched by the whole factor."""

    def problems(self) -> Iterator[Problem]:
        """Bounds in the wrong order."""
        if self.beta_slow >= self.beta_fast:
            yield Problem("beta_slow", f"{self.beta_slow} should be less than beta_fast, {self.beta_fast}")


class RotaryPositionConfig(PositionConfig, kind="rotary"):
    """Queries and keys are turned by an angle that grows with the place (Su et al. 2021); axial for pictures."""

    theta: PositiveFloat = 10_000.0
    """Base of the geometric series of wavelengths."""
    share: Annotated[float, Gt(0), Le(1)] = 1.0
    """Share of each head's width that is turned (GPT-NeoX: 0.25); the rest keeps no place."""
    scaling: RotaryScalingConfig | None = None
    """How it reaches beyond the length of training; null: it does not."""

    of_attention = True

    def problems(self) -> Iterator[Problem]:
        """Waves that cannot be told apart by how often they turn."""
        if isinstance(self.scaling, YarnRotaryScalingConfig) and self.theta <= 1:
            yield Problem("theta", f"{self.theta} gives no fast and slow waves: yarn needs more than 1")

    def turned(self, head_dim: int) -> int:
        """How much of a head's width is turned."""
        return int(head_dim * self.share)

    def refusals(self, head_dim: int) -> Iterator[str]:
        """A width that is not in pairs."""
        turned = self.turned(head_dim)
        if self.share == 1 and turned % 2:
            yield f"rotary turns pairs: head_dim {head_dim} is odd"
        elif not turned or turned % 2:
            yield f"rotary turns pairs: share {self.share} of head_dim {head_dim} is {turned}"


class RelativeBiasPositionConfig(PositionConfig, kind="relative_bias"):
    """A learned term on the score for each head and each bucket of distances (Raffel et al. 2020, T5)."""

    needs = frozenset({"bias"})
    of_attention = True

    num_buckets: Annotated[int, Ge(4), MultipleOf(2)] = 32
    """Buckets; half of them for single distances, the rest grow as a logarithm."""
    max_distance: Positive = 128
    """Distances from here on share the last bucket."""

    def problems(self) -> Iterator[Problem]:
        """Buckets that reach further than the longest distance."""
        if self.max_distance <= self.num_buckets // 2:
            yield Problem(
                "max_distance", f"{self.max_distance} should be more than half of num_buckets, {self.num_buckets}"
            )


class RelativeKeyPositionConfig(PositionConfig, kind="relative_key"):
    """A learned key for each distance, cut at a longest one (Shaw et al. 2018)."""

    needs = frozenset({"bias"})
    of_attention = True

    max_distance: Positive = 64
    """Distances from here on share one key."""


class ALiBiPositionConfig(PositionConfig, kind="alibi"):
    """A penalty on the score that grows with distance, steeper from head to head; no table (Press et al. 2022)."""

    needs = frozenset({"bias"})
    of_attention = True


class PerModalityPositionConfig(PositionConfig, kind="per_modality"):
    """Each modality of a joint sequence has positions of its own kind; pictures keep their rows and columns."""

    of: dict[str, PositionConfig]
    """The kind of each tower's tokens, by the tower's name."""

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """What all of them need together."""
        return frozenset[str]().union(*(part.needs for part in self.of.values()))

    @property
    def of_attention(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether none of them says anything without attention."""
        return all(part.of_attention for part in self.of.values())

    def problems(self) -> Iterator[Problem]:
        """Parts within parts."""
        for name, part in self.of.items():
            if isinstance(part, PerModalityPositionConfig):
                yield Problem(f"of.{name}.kind", "per_modality cannot stand in per_modality")

    def refusals(self, head_dim: int) -> Iterator[str]:
        """What any of them refuses."""
        for name, part in self.of.items():
            for refusal in part.refusals(head_dim):
                yield f"{name}: {refusal}"
