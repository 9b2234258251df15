"""Fusions in which the tokens of all towers meet in layers of the fusion's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from patchword.config.attention import AttentionConfig, SoftmaxAttentionConfig
from patchword.config.core import Config
from patchword.config.errors import ConfigError, Problem
from patchword.config.fusion import MappedFusionConfig
from patchword.config.numbers import Positive
from patchword.config.parts import FeedForwardConfig, LayerNormConfig, NormConfig, StandardFeedForwardConfig
from patchword.config.stack import ResidualConfig, StackConfig


class LayersConfig(Config):
    """Blocks inside a fusion, as wide as the trunk. Their tokens know where they stand from their towers."""

    depth: Positive = 2
    """Number of blocks."""
    attention: AttentionConfig = SoftmaxAttentionConfig()
    """How tokens look at one another."""
    ffn: FeedForwardConfig | None = StandardFeedForwardConfig()
    """What each token does alone; null: nothing."""
    norm: NormConfig = LayerNormConfig()
    """The norm of every step, and the last one."""
    residual: ResidualConfig = ResidualConfig()
    """What surrounds each step."""
    final_norm: bool = True
    """Whether a norm follows the last block."""

    def problems(self) -> Iterator[Problem]:
        """Causal layers: what one modality hides another has seen."""
        if self.attention.causal:
            yield Problem("attention.causal", "hides nothing: tokens meet by way of the other towers' all the same")

    def stack(self, dim: int) -> StackConfig:
        """The same as settings of a stack of that width.

        Raises:
            ConfigError: they do not go with that width.
        """
        parts = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return StackConfig(dim=dim, **parts)


class CrossLayersConfig(LayersConfig):
    """Blocks inside a fusion that also look at other towers' tokens."""

    cross_attention: AttentionConfig = SoftmaxAttentionConfig()
    """How tokens look at those of another tower; each pair of towers has its own."""


class LayeredFusionConfig(MappedFusionConfig):
    """Tokens of all towers meet in layers of the fusion's own."""

    joins = True
    one_sequence: ClassVar[bool] = False
    """Whether its layers read the tokens of all towers in one sequence."""

    layers: LayersConfig = LayersConfig()
    """Where they meet."""

    def misfits(self, widths: Mapping[str, int], dim: int) -> Iterator[Problem]:
        """Layers that do not go with the width or the towers, and towers that are alone."""
        if len(widths) < 2 and not self.one_sequence:
            yield Problem("kind", f"{self.kind} fusion is between towers: there is only {', '.join(widths)}")
        try:
            stack = self.layers.stack(dim)
        except ConfigError as error:
            yield from error.under("layers")
            return
        for path, names in stack.modalities():
            if not self.one_sequence:
                yield Problem(f"layers.{path}", f"each tower has layers of its own in {self.kind} fusion already")
            elif list(names) != list(widths):
                yield Problem(f"layers.{path}", f"should name the towers in their order, {', '.join(widths)}")


class CoAttentionFusionConfig(LayeredFusionConfig, kind="co_attention"):
    """Each tower has layers of its own, in which it looks at itself and at all others (Lu et al. 2019, ViLBERT)."""

    layers: CrossLayersConfig = CrossLayersConfig()
    """One tower's layers; all have the same shape."""


class RereadFusionConfig(LayeredFusionConfig, kind="reread"):
    """All tokens in one sequence, which looks at itself and, in each layer, again at what every tower gave."""

    one_sequence = True

    layers: CrossLayersConfig = CrossLayersConfig()
    """The layers of that sequence."""


class BottleneckFusionConfig(LayeredFusionConfig, kind="bottleneck"):
    """Each tower has layers of its own, and they talk only through a few shared tokens (Nagrani et al. 2021, MBT)."""

    num_tokens: Positive = 4
    """Shared tokens (K)."""

    def problems(self) -> Iterator[Problem]:
        """One layer, and windows that end before the shared tokens."""
        if self.layers.depth < 2:
            yield Problem("layers.depth", "towers tell one another something between two layers: there is only one")
        if self.layers.attention.window is not None:
            yield Problem("layers.attention.window", "leaves the shared tokens out of sight: set it to null")
