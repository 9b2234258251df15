"""Choices of how the towers' tokens meet, and of how a sequence becomes one vector."""

from __future__ import annotations

from typing import ClassVar, Literal

from patchword.config.core import Config
from patchword.config.numbers import Positive

# ------------------------------------------------------------------ pooling


class PoolConfig(Config, family="pooling"):
    """How a sequence becomes one vector."""


class MeanPoolConfig(PoolConfig, kind="mean"):
    """The mean over the real tokens."""


class FirstPoolConfig(PoolConfig, kind="first"):
    """The first real token (a cls token, where there is one)."""


class LastPoolConfig(PoolConfig, kind="last"):
    """The last real token."""


class AttentionPoolConfig(PoolConfig, kind="attention"):
    """A learned query looks at the tokens (Lee et al. 2019)."""

    num_heads: Positive = 4
    """Heads of that attention."""


# ------------------------------------------------------------------ fusion


class FusionConfig(Config, family="fusion"):
    """How the towers' tokens meet."""

    continues: ClassVar[bool] = False
    """Whether the trunk continues one tower's tokens, its `reader`, none of which has met a later one: a causal trunk
    may then say one after another."""
    joins: ClassVar[bool] = False
    """Whether the trunk reads the tokens of all towers in one sequence, and knows which is whose."""
    gives_memory: ClassVar[bool] = False
    """Whether the trunk gets a memory, to look at through cross-attention."""

    projector: Literal["linear", "mlp"] | None = None
    """Map from each other tower's width to the trunk's; null: linear where the widths differ, else nothing."""


class ReaderFusionConfig(FusionConfig):
    """The trunk continues one tower's tokens; the others are what it reads."""

    continues = True

    reader: str = "text"
    """The tower whose tokens the trunk continues."""


class CrossFusionConfig(ReaderFusionConfig, kind="cross"):
    """The trunk reads the other towers as a memory, through its cross-attention."""

    gives_memory = True


class PrefixFusionConfig(ReaderFusionConfig, kind="prefix"):
    """The other towers' tokens stand before the reader's and see one another, also in a causal trunk."""

    joins = True


class JointFusionConfig(ReaderFusionConfig, kind="joint"):
    """All tokens in one sequence, the reader's last; in a causal trunk each sees only what stands before it."""

    joins = True
