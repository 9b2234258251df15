"""Fusions that make one vector of all towers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from patchword.config.errors import Problem
from patchword.config.fusion import FusionConfig, MappedFusionConfig, under
from patchword.config.numbers import Positive
from patchword.config.parts import LayerNormConfig, NormConfig
from patchword.config.pooling import MeanPoolConfig, PoolConfig


class VectorFusionConfig(FusionConfig):
    """Each tower is pooled to one vector, and one vector is made of these: the trunk reads a single token."""

    pool: PoolConfig = MeanPoolConfig()
    """How each tower becomes one vector."""

    def misfits(self, widths: Mapping[str, int], dim: int) -> Iterator[Problem]:
        """Poolings that do not go with a tower's width."""
        for width in dict.fromkeys(widths.values()):
            yield from under("pool", self.pool.misfits(width))


class ConcatFusionConfig(VectorFusionConfig, kind="concat"):
    """Two maps of the towers' vectors side by side, with a GELU between them."""

    hidden_dim: Positive | None = None
    """Width between the maps; null: twice the trunk's."""
    norm: NormConfig = LayerNormConfig()
    """The norm of the result."""


class WeightedFusionConfig(VectorFusionConfig, MappedFusionConfig, kind="weighted"):
    """The sum of the towers' vectors, each with a learned weight; the weights of those present add up to 1."""

    norm: NormConfig = LayerNormConfig()
    """The norm of the result."""


class GatedFusionConfig(VectorFusionConfig, MappedFusionConfig, kind="gated"):
    """The sum of the towers' vectors, each times a sigmoid of all of them (Arevalo et al. 2017)."""

    norm: NormConfig = LayerNormConfig()
    """The norm of the result."""


class TensorFusionConfig(VectorFusionConfig, kind="tensor"):
    """A map of the outer product of the towers' vectors, each with a 1 before it (Zadeh et al. 2017)."""

    width: Positive | None = 16
    """Width that each vector is mapped to first (d); null: that of its tower. The product has (d + 1) ** towers
    numbers."""


class LowRankFusionConfig(VectorFusionConfig, kind="low_rank"):
    """Tensor fusion whose map is a sum of products of one map a tower (Liu et al. 2018)."""

    width: Positive | None = None
    """Width that each vector is mapped to first (d); null: that of its tower."""
    rank: Positive = 4
    """How many products (R)."""
