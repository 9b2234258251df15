"""Choices for a stack of blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from patchword.config.attention import AttentionConfig, PerModalityProjectionConfig, SoftmaxAttentionConfig
from patchword.config.core import Config
from patchword.config.errors import Problem
from patchword.config.numbers import Count, Dropout, Positive, PositiveFloat
from patchword.config.parts import (
    FeedForwardConfig,
    LayerNormConfig,
    NormConfig,
    PerModalityFeedForwardConfig,
    StandardFeedForwardConfig,
)
from patchword.config.positions import NoPositionConfig, PerModalityPositionConfig, PositionConfig


class ResidualConfig(Config):
    """What surrounds each step of a block."""

    placement: Literal["pre", "post", "sandwich"] = "pre"
    """Where the norm stands: pre is x + f(norm(x)), post is norm(x + f(x)), sandwich is x + norm(f(norm(x)))."""
    dropout: Dropout = 0.0
    """Share of the step's output that is zeroed in training."""
    drop_path: Dropout = 0.0
    """Chance that a sample skips the step in training (stochastic depth, Huang et al. 2016), growing from 0 at the
    first block to this at the last."""
    layer_scale: PositiveFloat | None = None
    """First value of a learned gain on the step's output (Touvron et al. 2021); null: no gain."""


class StackConfig(Config):
    """Blocks of one shape, one after another."""

    dim: Positive = 128
    """Width of a token (D)."""
    depth: Count = 2
    """Number of blocks."""
    position: PositionConfig = NoPositionConfig()
    """How its tokens know where they stand."""
    attention: AttentionConfig | None = SoftmaxAttentionConfig()
    """How tokens look at one another; null: they do not."""
    cross_attention: AttentionConfig | None = None
    """How tokens look at a memory; null: they do not."""
    ffn: FeedForwardConfig | None = StandardFeedForwardConfig()
    """What each token does alone; null: nothing."""
    norm: NormConfig = LayerNormConfig()
    """The norm of every step, and the last one."""
    residual: ResidualConfig = ResidualConfig()
    """What surrounds each step."""
    entry_norm: bool = False
    """Whether a norm stands before the first block, after what positions add (BERT; the picture's tower of CLIP)."""
    final_norm: bool = True
    """Whether a norm follows the last block."""
    init_from: str | None = None
    """A run, or a folder that `patchword convert` wrote, whose part of the same name these weights start as (another:
    `RUN#part`); null: as the model's `init` says. See docs/training.md."""

    def problems(self) -> Iterator[Problem]:
        """Widths that do not divide, and positions that the mechanism cannot honour."""
        for name in ("attention", "cross_attention"):
            part: AttentionConfig | None = getattr(self, name)
            if part is not None and part.head_dim is None and self.dim % part.num_heads:
                yield Problem(f"{name}.num_heads", f"dim {self.dim} is not divisible by num_heads {part.num_heads}")
        if self.attention is not None and self.depth:
            for refusal in self.attention.refusals(set(self.position.needs)):
                yield Problem("position.kind", refusal)
            for refusal in self.position.refusals(self.attention.width(self.dim)):
                yield Problem("position.kind", refusal)
        elif self.position.of_attention:
            lack = "depth is 0" if self.attention is not None else "attention is null"
            yield Problem("position.kind", f"{self.position.kind} positions act on attention alone, but {lack}")
        if self.cross_attention is not None:
            for refusal in self.cross_attention.refusals({"cross"}):
                yield Problem("cross_attention.kind", refusal)
            if isinstance(self.cross_attention.projection, PerModalityProjectionConfig):
                yield Problem(
                    "cross_attention.projection", "per_modality is for tokens that look at their own sequence"
                )
            if self.cross_attention.causal or self.cross_attention.window is not None:
                yield Problem("cross_attention", "causal and window have no meaning between two sequences")

    def modalities(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Where these settings have parts for several modalities, and their names in order."""
        if isinstance(self.position, PerModalityPositionConfig):
            yield "position.of", tuple(self.position.of)
        if self.attention is not None and isinstance(self.attention.projection, PerModalityProjectionConfig):
            yield "attention.projection.names", self.attention.projection.names
        if isinstance(self.ffn, PerModalityFeedForwardConfig):
            yield "ffn.of", tuple(self.ffn.of)
