"""Choices of which keys each query of sparse attention sees."""

from __future__ import annotations

from collections.abc import Iterator

from patchword.config.core import Config
from patchword.config.errors import Problem
from patchword.config.numbers import Count, Positive


class PatternConfig(Config, family="pattern"):
    """Which keys each query sees. Places are ranks among the real tokens, so padding moves nothing."""


class LocalPatternConfig(PatternConfig, kind="local"):
    """Near keys, and some tokens that see and are seen by all (Beltagy et al. 2020, Longformer)."""

    reach: Positive = 256
    """How far: keys less than this many steps of `dilation` away."""
    dilation: Positive = 1
    """Only keys whose distance is a multiple of this."""
    num_global: Count = 0
    """The first tokens, which see all and are seen by all."""


class BlockPatternConfig(PatternConfig, kind="block"):
    """Blocks of keys: the query's own, its neighbours, the first ones, random ones (Zaheer et al. 2020, BigBird)."""

    block_size: Positive = 64
    """Tokens in a block."""
    num_neighbours: Count = 1
    """Blocks on each side of a query's own."""
    num_global: Count = 1
    """Blocks at the beginning that see all and are seen by all."""
    num_random: Count = 1
    """Random blocks that each block sees beside."""
    seed: Count = 0
    """Seed of that choice."""


class StridedPatternConfig(PatternConfig, kind="strided"):
    """The last `stride` keys and every `stride`-th before (Child et al. 2019, strided)."""

    stride: Positive = 128
    """Near keys, and the distance between far ones."""


class FixedPatternConfig(PatternConfig, kind="fixed"):
    """The query's own block and the last `summary` keys of every block (Child et al. 2019, fixed)."""

    block_size: Positive = 128
    """Tokens in a block."""
    summary: Positive = 8
    """Keys at the end of each block that all see."""

    def problems(self) -> Iterator[Problem]:
        """More keys than a block has."""
        if self.summary > self.block_size:
            yield Problem("summary", f"{self.summary} keys of a block that has {self.block_size} (block_size)")
