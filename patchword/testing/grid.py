"""Every combination of kind, position, roles, groups and numbers: each is built, or refused with a reason.

What a combination needs and what its mechanism `can` do say beforehand which of the two must happen.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import torch

from patchword.config import (
    AttentionConfig,
    DifferentialAttentionConfig,
    LinearAttentionConfig,
    LinformerAttentionConfig,
    LocalPatternConfig,
    PerformerAttentionConfig,
    PositionConfig,
    ReformerAttentionConfig,
    SoftmaxAttentionConfig,
    SparseAttentionConfig,
    StackConfig,
    TopKAttentionConfig,
)
from patchword.testing.check import POSITIONS
from patchword.testing.subject import Case

SMALL: tuple[AttentionConfig, ...] = (
    SoftmaxAttentionConfig(),
    SparseAttentionConfig(pattern=LocalPatternConfig(reach=3, num_global=1)),
    LinearAttentionConfig(chunk=3),
    PerformerAttentionConfig(num_features=6, chunk=3),
    LinformerAttentionConfig(max_len=24, pooled_len=4),
    ReformerAttentionConfig(bucket_size=4, num_hashes=2),
    TopKAttentionConfig(k=4),
    DifferentialAttentionConfig(),
)
"""Each kind, so small that a dozen tokens show all that it does."""

PADDING = ("none", "left", "right", "both sides")
"""The sides on which each combination meets padding: `padding_changes_nothing` goes through all of them."""


class Combination(NamedTuple):
    """One choice of everything."""

    config: AttentionConfig
    position: PositionConfig
    grid: bool
    causal: bool
    cross: bool
    groups: int | None
    dtype: torch.dtype

    @property
    def missing(self) -> list[str]:
        """What it needs and its mechanism cannot do; empty: it must be built."""
        asked = {"causal": self.causal, "cross": self.cross}
        return sorted(({what for what, on in asked.items() if on} | set(self.position.needs)) - self.config.can)

    def case(self) -> Case:
        """What the laws run on.

        Raises:
            UserError: the combination is refused.
        """
        own = self.config.replace(num_heads=4, num_kv_heads=self.groups, causal=self.causal)
        other = self.config.replace(num_heads=4, num_kv_heads=self.groups) if self.cross else None
        stack = StackConfig(dim=16, depth=2, position=self.position, attention=own, cross_attention=other)
        return Case(stack, self.grid, self.dtype, name=self.name)

    @property
    def name(self) -> str:
        """Its choices in words."""
        asked = {
            "grid": self.grid,
            "causal": self.causal,
            "cross": self.cross,
            f"groups {self.groups}": self.groups is not None,
            "float32": self.dtype == torch.float32,
        }
        return " ".join([self.config.kind, self.position.kind, *(word for word, on in asked.items() if on)])


def combinations(config: AttentionConfig) -> Iterator[Combination]:
    """All of one mechanism: positions on a line and a grid, causal or not, with a memory or without, groups, numbers.

    Differential attention pairs heads, so its one group is two.
    """
    groups = (None, 2) if isinstance(config, DifferentialAttentionConfig) else (None, 2, 1)
    flags = (False, True)
    for (position, grid), causal, cross, group, dtype in itertools.product(
        POSITIONS, flags, flags, groups, (torch.float64, torch.float32)
    ):
        yield Combination(config, position, grid, causal, cross, group, dtype)


def spread(config: AttentionConfig, step: int = 5) -> list[Combination]:
    """Some of those that must be built: one in `step`, so that every choice of each kind is met."""
    return [c for c in combinations(config) if not c.missing][::step]
