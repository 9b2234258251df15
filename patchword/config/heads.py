"""Choices of what is read off the tokens."""

from __future__ import annotations

from collections.abc import Iterator

from patchword.config.core import Config
from patchword.config.errors import Problem
from patchword.config.numbers import Activation, Positive, PositiveFloat
from patchword.config.parts import LayerNormConfig, NormConfig
from patchword.config.pooling import MeanPoolConfig, PoolConfig


class HeadConfig(Config, family="head"):
    """What a model gives."""


class TokenHeadConfig(HeadConfig):
    """What is read off the tokens."""

    source: str = "trunk"
    """Whose tokens: `trunk`, or a tower's name."""


class LanguageHeadConfig(TokenHeadConfig, kind="language"):
    """A score for each vocabulary entry at each token."""

    text: str = "text"
    """The text tower whose vocabulary this is."""
    tied: bool = True
    """Whether the map is that tower's embedding table (Press and Wolf 2017)."""
    bias: bool = False
    """Whether the map has an offset."""
    transform: Activation | None = None
    """A map of the tokens, this function and a norm come before the scores (Devlin et al. 2019); null: nothing does."""
    norm: NormConfig = LayerNormConfig()
    """The norm of `transform`."""
    gone = frozenset({"num_said"})


class ScoresHeadConfig(TokenHeadConfig, kind="scores"):
    """The tokens are scores themselves, one for each vocabulary entry: a tower as wide as its vocabulary is large."""

    text: str = "text"
    """The text tower whose vocabulary this is."""


class PatchHeadConfig(TokenHeadConfig, kind="patches"):
    """The pixels of each patch (Xie et al. 2022)."""

    source: str = "image"
    """The image tower whose patches these are."""


class LabelHeadConfig(TokenHeadConfig, kind="label"):
    """A score for each class."""

    num_classes: Positive | None = None
    """Number of classes; null: as many as the training data has (costs are told for 2)."""
    pool: PoolConfig = MeanPoolConfig()
    """How the tokens become one vector."""
    transform: Activation | None = None
    """A map of that vector and this function come before the scores (tanh: BERT's pooler); null: nothing does."""


class EmbeddingHeadConfig(TokenHeadConfig, kind="embedding"):
    """One vector for a whole sequence."""

    out_dim: Positive | None = 128
    """Width of that vector; null: as wide as tokens are, without a map of its own."""
    pool: PoolConfig = MeanPoolConfig()
    """How the tokens become one vector."""
    bias: bool = False
    """Whether the map to it has an offset."""
    normalize: bool = True
    """Whether its length is 1."""


class SimilarityHeadConfig(HeadConfig, kind="similarity"):
    """How alike the vectors of two embedding heads are: a score for each pair of one of each."""

    rows: str = "image"
    """The embedding head whose vectors are the rows of the scores."""
    columns: str = "text"
    """The embedding head whose vectors are the columns of the scores."""
    temperature: PositiveFloat | None = 0.07
    """What dot products are divided by at the start; it is learned (Radford et al. 2021). Null: scores are the dot
    products themselves."""
    max_scale: PositiveFloat | None = 100.0
    """Most that training lets dot products be multiplied by; null: anything."""
    bias: float | None = None
    """What is added to them at the start; it is learned (Zhai et al. 2023). Null: nothing."""

    def problems(self) -> Iterator[Problem]:
        """A start beyond what training allows, and a head that is compared with itself."""
        start = 0.0 if self.temperature is None else 1 / self.temperature
        if self.max_scale is not None and start > self.max_scale:
            yield Problem("max_scale", f"{self.max_scale} is less than the scale of the start, 1 / {self.temperature}")
        if self.rows == self.columns:
            yield Problem("columns", f"{self.columns!r} are the rows, too: name two heads")
