"""Choices for the small parts of a stack: norms, feed-forwards, initialisers."""

from __future__ import annotations

from patchword.config.core import Config
from patchword.config.numbers import Activation, Dropout, Positive, PositiveFloat

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


class NoNormConfig(NormConfig, kind="none"):
    """Nothing: vectors stay as they are."""


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


class GEGLUConfig(FeedForwardConfig, kind="geglu"):
    """down(gelu(gate(x)) * up(x)) (Shazeer 2020)."""


class SwiGLUConfig(FeedForwardConfig, kind="swiglu"):
    """down(silu(gate(x)) * up(x)) (Shazeer 2020)."""


class ReLU2Config(FeedForwardConfig, kind="relu2"):
    """down(relu(up(x)) ** 2) (So et al. 2021)."""


class PerModalityFeedForwardConfig(FeedForwardConfig, kind="per_modality"):
    """The tokens of each modality of a joint sequence use a feed-forward of their own (Bao et al. 2022, VLMo)."""

    of: dict[str, FeedForwardConfig]
    """The feed-forward of each tower's tokens, by the tower's name."""


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
