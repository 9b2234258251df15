"""Choices for the parts of a stack: norms, positions, feed-forwards, attention, residual steps, initialisers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge, Gt, Le, Lt

from patchword.config.core import Config
from patchword.config.errors import Problem

Positive = Annotated[int, Gt(0)]
Count = Annotated[int, Ge(0)]
PositiveFloat = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Share = Annotated[float, Ge(0), Le(1)]
Dropout = Annotated[float, Ge(0), Lt(1)]
Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "relu", "relu2", "silu", "sigmoid", "tanh", "elu", "mish"]

# ------------------------------------------------------------------ norms


class NormConfig(Config, family="norm"):
    """How a vector's scale is kept in bounds."""


class LayerNormConfig(NormConfig, kind="layernorm"):
    """Layer normalisation (Ba et al. 2016)."""

    eps: PositiveFloat = 1e-5
    """Added to the variance."""
    bias: bool = True
    """Whether a learned offset follows the learned gain."""


class RMSNormConfig(NormConfig, kind="rmsnorm"):
    """Root mean square normalisation (Zhang and Sennrich 2019)."""

    eps: PositiveFloat = 1e-6
    """Added to the mean square."""


class ScaleNormConfig(NormConfig, kind="scalenorm"):
    """One learned length for every vector (Nguyen and Salazar 2019)."""

    eps: PositiveFloat = 1e-6
    """Added to the length."""


# ------------------------------------------------------------------ positions


class PositionConfig(Config, family="position"):
    """How a token knows where it stands."""

    needs: ClassVar[frozenset[str]] = frozenset()
    """What attention must be able to do for this kind to work in it."""


class NoPositionConfig(PositionConfig, kind="none"):
    """No positions: a set, or positions given elsewhere."""


class LearnedPositionConfig(PositionConfig, kind="learned"):
    """One learned vector a place, added to the token."""

    max_len: Positive | None = None
    """Places in the table; null: as many as the tower's input has (its max_len, or its grid of patches)."""


class SinusoidalPositionConfig(PositionConfig, kind="sinusoidal"):
    """Sines and cosines added to the token (Vaswani et al. 2017); half the width for each axis of a picture."""

    theta: PositiveFloat = 10_000.0
    """The longest wavelength is 2 pi theta."""


class RotaryPositionConfig(PositionConfig, kind="rotary"):
    """Queries and keys are turned by an angle that grows with the place (Su et al. 2021); axial for pictures."""

    theta: PositiveFloat = 10_000.0
    """Base of the geometric series of wavelengths."""


# ------------------------------------------------------------------ feed-forwards


class FeedForwardConfig(Config, family="feed-forward"):
    """The part of a block that looks at each token alone."""

    hidden_dim: Positive | None = None
    """Inner width; null: 4 x dim, for gated kinds 8/3 x dim rounded up to a multiple of 8 (as many parameters)."""
    bias: bool = True
    """Whether the linear maps have offsets."""
    dropout: Dropout = 0.0
    """Share of inner activations that are zeroed in training."""


class StandardFeedForwardConfig(FeedForwardConfig, kind="standard"):
    """down(activation(up(x))) (Vaswani et al. 2017)."""

    activation: Activation = "gelu"
    """The function between the two maps."""


class GLUConfig(FeedForwardConfig, kind="glu"):
    """down(activation(gate(x)) * up(x)) (Dauphin et al. 2017; Shazeer 2020)."""

    activation: Activation = "sigmoid"
    """The function on the gate: sigmoid is GLU, gelu is GEGLU."""


class SwiGLUConfig(FeedForwardConfig, kind="swiglu"):
    """down(silu(gate(x)) * up(x)) (Shazeer 2020)."""


# ------------------------------------------------------------------ attention


class AttentionConfig(Config, family="attention"):
    """Projections and policy that every mechanism shares; the kind is the mechanism."""

    can: ClassVar[frozenset[str]] = frozenset()
    """What the mechanism can do, of: causal, window, segment, bias, cache, cross, dropout."""

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


# ------------------------------------------------------------------ residual steps, stacks


class ResidualConfig(Config):
    """What surrounds each step of a block."""

    placement: Literal["pre", "post"] = "pre"
    """Where the norm stands: pre is x + f(norm(x)), post is norm(x + f(x))."""
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
    final_norm: bool = True
    """Whether a norm follows the last block."""

    def problems(self) -> Iterator[Problem]:
        """Widths that do not divide, and positions that the mechanism cannot honour."""
        for name in ("attention", "cross_attention"):
            part: AttentionConfig | None = getattr(self, name)
            if part is not None and part.head_dim is None and self.dim % part.num_heads:
                yield Problem(f"{name}.num_heads", f"dim {self.dim} is not divisible by num_heads {part.num_heads}")
        if self.attention is not None and self.depth:
            for refusal in self.attention.refusals(set(self.position.needs)):
                yield Problem("position.kind", refusal)
            yield from self._odd_rotary()
        if self.cross_attention is not None:
            for refusal in self.cross_attention.refusals({"cross"}):
                yield Problem("cross_attention.kind", refusal)
            if self.cross_attention.causal or self.cross_attention.window is not None:
                yield Problem("cross_attention", "causal and window have no meaning between two sequences")

    def _odd_rotary(self) -> Iterator[Problem]:
        assert self.attention is not None
        if isinstance(self.position, RotaryPositionConfig) and self.attention.width(self.dim) % 2:
            yield Problem("position.kind", f"rotary turns pairs: head_dim {self.attention.width(self.dim)} is odd")


# ------------------------------------------------------------------ initialisers


class InitConfig(Config, family="initialiser"):
    """How weights start."""


class TorchInitConfig(InitConfig, kind="torch"):
    """What torch's own layers do when they are made."""


class NormalInitConfig(InitConfig, kind="normal"):
    """Normal weights, zero offsets (GPT-2, BERT)."""

    std: PositiveFloat = 0.02
    """Standard deviation."""
    depth_scaled: bool = True
    """Whether maps that end a residual step are divided by sqrt(steps), as in GPT-2."""


class TruncatedNormalInitConfig(InitConfig, kind="truncated_normal"):
    """Normal weights cut at two standard deviations, zero offsets (ViT)."""

    std: PositiveFloat = 0.02
    """Standard deviation before the cut."""


class XavierInitConfig(InitConfig, kind="xavier"):
    """Uniform with variance 2 / (fan in + fan out) for matrices (Glorot and Bengio 2010), zero offsets."""

    gain: PositiveFloat = 1.0
    """Factor on the bound."""
