"""Choices of how a sequence becomes one vector."""

from __future__ import annotations

from collections.abc import Iterator

from patchword.config.core import Config
from patchword.config.errors import Problem
from patchword.config.numbers import Positive
from patchword.config.parts import FeedForwardConfig, LayerNormConfig, NormConfig


class PoolConfig(Config, family="pooling"):
    """How a sequence becomes one vector."""

    def misfits(self, dim: int) -> Iterator[Problem]:
        """What does not go with tokens of width `dim`."""
        yield from ()


class MeanPoolConfig(PoolConfig, kind="mean"):
    """The mean over the real tokens."""


class FirstPoolConfig(PoolConfig, kind="first"):
    """The first real token (a cls token, where there is one)."""


class LastPoolConfig(PoolConfig, kind="last"):
    """The last real token."""


class LearnedPoolConfig(PoolConfig):
    """Learned queries look at the tokens."""

    num_heads: Positive = 4
    """Heads of that attention."""

    def misfits(self, dim: int) -> Iterator[Problem]:
        """Heads that do not divide the width."""
        if dim % self.num_heads:
            yield Problem("num_heads", f"dim {dim} is not divisible by num_heads {self.num_heads}")


class AttentionPoolConfig(LearnedPoolConfig, kind="attention"):
    """Learned queries look at the tokens, and one map makes a vector of all that they find (Lee et al. 2019)."""

    num_queries: Positive = 1
    """How many queries (Q)."""
    ffn: FeedForwardConfig | None = None
    """What follows as a residual step, x + ffn(norm(x)) (Zhai et al. 2022); null: nothing."""
    norm: NormConfig = LayerNormConfig()
    """The norm of that step."""


class HierarchicalPoolConfig(LearnedPoolConfig, kind="hierarchical"):
    """A learned query looks at the tokens of each window, and another at what those found (Yang et al. 2016)."""

    window: Positive = 128
    """Real tokens in a window."""
    stride: Positive = 64
    """Real tokens from the beginning of a window to that of the next."""

    def problems(self) -> Iterator[Problem]:
        """Windows with gaps between them."""
        if self.stride > self.window:
            yield Problem("stride", f"{self.stride} leaves out tokens between windows of {self.window}")
