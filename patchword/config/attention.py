"""Choices of how tokens look at one another: what all mechanisms share, and each mechanism's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from annotated_types import Gt, Lt

from patchword.config.core import Config
from patchword.config.errors import Problem
from patchword.config.numbers import Count, Dropout, Positive, PositiveFloat
from patchword.config.parts import NormConfig
from patchword.config.patterns import LocalPatternConfig, PatternConfig


class ProjectionConfig(Config, family="projection"):
    """Whose weights the linear maps around a mechanism are."""


class SharedProjectionConfig(ProjectionConfig, kind="shared"):
    """One set for all tokens."""


class PerModalityProjectionConfig(ProjectionConfig, kind="per_modality"):
    """A set for the tokens of each modality of a joint sequence (Liang et al. 2024, Mixture-of-Transformers)."""

    names: tuple[str, ...]
    """The towers, in the order of the model."""


class AttentionConfig(Config, family="attention"):
    """Projections and policy that every mechanism shares; the kind is the mechanism."""

    can: ClassVar[frozenset[str]] = frozenset()
    """What the mechanism can do, of: causal, window, segment, bias, cache, cross, dropout."""
    shares_qk: ClassVar[bool] = False
    """Whether queries are keys, too: there is then no key map."""

    num_heads: Positive = 4
    """Query heads (H)."""
    num_kv_heads: Positive | None = None
    """Key and value heads (G), shared by groups of query heads; null: as many as num_heads."""
    head_dim: Positive | None = None
    """Width of a head (E); null: dim / num_heads."""
    causal: bool = False
    """Whether a token sees only what its order allows (itself and before)."""
    window: Positive | None = None
    """A token sees others less than this many places away; null: no limit."""
    qk_norm: NormConfig | None = None
    """Norm of each head's queries and keys before they meet (Henry et al. 2020); null: none."""
    bias: bool = True
    """Whether the query, key and value maps have offsets."""
    out_bias: bool = True
    """Whether the output map has an offset."""
    scale: PositiveFloat | None = None
    """Factor on the scores; null: head_dim ** -0.5."""
    dropout: Dropout = 0.0
    """Share of attention weights that are zeroed in training."""
    gate: bool = False
    """Whether what each head gathers is multiplied by a sigmoid of the token that looks (Qiu et al. 2025)."""
    projection: ProjectionConfig = SharedProjectionConfig()
    """Whose weights the query, key, value and output maps are."""

    def wants(self) -> set[str]:
        """What these settings ask of the mechanism."""
        asked = {"causal": self.causal, "window": self.window is not None, "dropout": self.dropout > 0}
        return {what for what, on in asked.items() if on}

    def refusals(self, wants: set[str]) -> Iterator[str]:
        """Why this mechanism cannot do what is wanted of it; nothing where it can."""
        missing = sorted(wants - self.can)
        if missing:
            able = sorted(k for k, c in self.kinds.items() if issubclass(c, AttentionConfig) and wants <= c.can)
            others = ", ".join(able) or "none"
            yield f"{self.kind} attention cannot do: {', '.join(missing)}; kinds that can: {others}"

    def problems(self) -> Iterator[Problem]:
        """Groups that do not divide, and policies that the mechanism cannot honour."""
        if self.num_kv_heads is not None and self.num_heads % self.num_kv_heads:
            yield Problem("num_kv_heads", f"{self.num_kv_heads} does not divide num_heads {self.num_heads}")
        for refusal in self.refusals(self.wants()):
            yield Problem("kind", refusal)

    def width(self, dim: int) -> int:
        """Width of one head in a model of width `dim`."""
        return self.head_dim or dim // self.num_heads


class SoftmaxAttentionConfig(AttentionConfig, kind="softmax"):
    """Exact scaled dot-product attention (Vaswani et al. 2017) through fused kernels."""

    can = frozenset({"causal", "window", "segment", "bias", "cache", "cross", "dropout"})


# ------------------------------------------------------------------ sparse


class SparseAttentionConfig(AttentionConfig, kind="sparse"):
    """Softmax over some of the keys, computed in blocks: n.w instead of n^2."""

    can = frozenset({"causal", "window", "segment", "cache", "cross"})

    pattern: PatternConfig = LocalPatternConfig()
    """Which keys each query sees."""
    memory_ratio: PositiveFloat = 1.0
    """In cross attention: tokens of the memory for each that looks. The n-th of these stands at place n * memory_ratio
    of the memory."""


class TopKAttentionConfig(AttentionConfig, kind="topk"):
    """Softmax over the k best keys of each query (Gupta et al. 2021)."""

    can = frozenset({"causal", "window", "segment", "bias", "cache", "cross", "dropout"})

    k: Positive = 32
    """Keys that each query keeps."""


# ------------------------------------------------------------------ kernel features


class LinearAttentionConfig(AttentionConfig, kind="linear"):
    """phi(q) (phi(k)^T v) / (phi(q) sum phi(k)): linear in length (Katharopoulos et al. 2020)."""

    can = frozenset({"causal", "segment", "cache", "cross"})

    feature: Literal["elu", "relu", "softmax"] = "elu"
    """phi: elu(x) + 1, relu(x), or softmax over the features."""
    feature_dim: Positive | None = None
    """Width of learned maps of queries and of keys before phi (F); null: none, phi takes them as they are."""
    chunk: Positive = 64
    """Tokens whose causal sums are taken together; changes speed and memory only."""
    eps: PositiveFloat = 1e-6
    """Added to the divisor."""

    def problems(self) -> Iterator[Problem]:
        """Also a factor on scores, of which there are none."""
        yield from super().problems()
        if self.scale is not None:
            yield Problem("scale", "linear attention has no scores to scale: leave it null")


class PerformerAttentionConfig(AttentionConfig, kind="performer"):
    """Softmax attention estimated with random features (Choromanski et al. 2021, FAVOR+): linear in length."""

    can = frozenset({"causal", "segment", "cache", "cross"})

    feature: Literal["softmax", "hyperbolic", "relu", "exp"] = "softmax"
    """softmax: positive features; hyperbolic: pairs of opposite ones, less variance; relu, exp: generalised kernels."""
    num_features: Positive | None = None
    """Random features of a head (F); null: head_dim * ln(head_dim), made even where features go in pairs."""
    orthogonal: bool = True
    """Whether features are orthogonal in groups of head_dim, which lowers the error."""
    redraw_every: Positive | None = None
    """Training steps after which features are drawn again; null: never."""
    seed: Count = 0
    """Seed of the features."""
    chunk: Positive = 128
    """Tokens whose causal sums are taken together; changes speed and memory only."""
    eps: PositiveFloat | None = None
    """Added to relu features, which may all be zero, and to no others; null: 0.001."""

    def problems(self) -> Iterator[Problem]:
        """Also features that cannot be paired, and settings of another kernel."""
        yield from super().problems()
        if self.feature == "hyperbolic" and (self.num_features or 2) % 2:
            yield Problem("num_features", f"hyperbolic features go in pairs: {self.num_features} is odd")
        if self.eps is not None and self.feature != "relu":
            yield Problem("eps", f"is for relu features: {self.feature} features are never zero")


# ------------------------------------------------------------------ pooled and hashed keys


class LinformerAttentionConfig(AttentionConfig, kind="linformer"):
    """Keys and values pooled along length to a few rows by a learned map (Wang et al. 2020)."""

    can = frozenset({"cross", "dropout"})

    max_len: Positive = 256
    """Longest sequence of keys; shorter ones use the first rows of the map."""
    pooled_len: Positive = 64
    """Rows that are left of it (k)."""
    sharing: Literal["none", "headwise", "kv", "layerwise"] = "headwise"
    """Whose map it is: none: one a head for keys and one for values; headwise: heads share both; kv: keys and values
    share one, too; layerwise: and all layers of a stack."""


class ReformerAttentionConfig(AttentionConfig, kind="reformer"):
    """Softmax over keys that a random projection puts in the same bucket (Kitaev et al. 2020): n log n."""

    can = frozenset({"causal", "segment"})
    shares_qk = True

    bucket_size: Positive = 64
    """Tokens in a bucket."""
    num_hashes: Positive = 4
    """Rounds of hashing whose results are put together."""
    seed: Count = 0
    """Seed of the projections."""


# ------------------------------------------------------------------ differences


class DifferentialAttentionConfig(AttentionConfig, kind="differential"):
    """The difference of two softmax maps, which cancels what both see (Ye et al. 2024). Heads go in pairs."""

    can = frozenset({"causal", "window", "segment", "bias", "cache", "cross", "dropout"})

    first_lambda: Annotated[float, Gt(0), Lt(1)] = 0.2
    """How much of the second map is taken off at first; the paper's is 0.2 in the first layer and grows to 0.8."""

    def problems(self) -> Iterator[Problem]:
        """Also heads that cannot be paired."""
        yield from super().problems()
        for name in ("num_heads", "num_kv_heads"):
            if (getattr(self, name) or 2) % 2:
                yield Problem(name, f"differential attention pairs heads: {getattr(self, name)} is odd")
