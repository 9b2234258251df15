"""Translators of five public tutorials as model configurations: one shape, and what each of them does in its own way.

What was a bug in an original is not in them; their parameters are exactly those of the originals.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from patchword.config import (
    CrossFusionConfig,
    LanguageHeadConfig,
    LayerNormConfig,
    ModelConfig,
    NoPositionConfig,
    PositionConfig,
    ResidualConfig,
    SinusoidalPositionConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    StandardFeedForwardConfig,
    TextTowerConfig,
    TorchInitConfig,
    XavierInitConfig,
)

Stack = TypeVar("Stack", bound=StackConfig)
_WAVES, _NORM = SinusoidalPositionConfig(), LayerNormConfig()


class Sizes(NamedTuple):
    """How large such a translator is."""

    dim: int = 512
    """Width of a token."""
    depth: int = 6
    """Blocks of each of the two stacks."""
    num_heads: int = 8
    hidden_dim: int = 2048
    """Inner width of what each token does alone."""
    max_len: int = 100
    """The longest text, in tokens."""
    source_vocab: int | None = None
    """Rows of the source's table; None: as many as its tokenizer has."""
    target_vocab: int | None = None
    """Rows of the target's table, likewise."""


def encoder_decoder(source: TextTowerConfig, target: TextTowerConfig, head: LanguageHeadConfig) -> ModelConfig:
    """A causal stack of the source tower's shape says the target, and looks at the source between its two steps."""
    own, acts = source.attention, source.position.of_attention  # such positions are the stack's, not the tower's
    assert own is not None
    shape = {name: getattr(source, name) for name in ("dim", "depth", "ffn", "norm", "residual", "final_norm")}
    return ModelConfig(
        towers={"source": source, "target": target},
        fusion=CrossFusionConfig(reader="target"),
        trunk=StackConfig(
            **shape,
            position=source.position if acts else NoPositionConfig(),
            attention=own.replace(causal=True),
            cross_attention=own,
        ),
        heads={"text": head},
    )


def hkproj(sizes: Sizes) -> ModelConfig:
    """github.com/hkproj/pytorch-transformer: norms first, no offsets in attention, embeddings scaled."""
    source = _source(sizes, pre_norm=True, norm=LayerNormConfig(eps=1e-12))
    attention = SoftmaxAttentionConfig(num_heads=sizes.num_heads, bias=False, out_bias=False)
    return _tutorial(sizes, source.replace(attention=attention, embed_scale=True))


def article(sizes: Sizes) -> ModelConfig:
    """A much-copied article (Towards Data Science, DataCamp): norms last and none at the end, torch's own init."""
    return _tutorial(sizes, _source(sizes, pre_norm=False)).replace(init=TorchInitConfig())


def evans(sizes: Sizes, position: PositionConfig = _WAVES) -> ModelConfig:
    """github.com/SamLynnEvans/Transformer: norms first, embeddings scaled; its waves had a wrong exponent."""
    source = _source(sizes, pre_norm=True, norm=LayerNormConfig(eps=1e-12))
    return _tutorial(sizes, source.replace(embed_scale=True, position=position))


def torch_transformer(sizes: Sizes) -> ModelConfig:
    """torch's nn.Transformer, which has no tables, positions and scores of its own: norms last and one at each end."""
    model = _tutorial(sizes, _source(sizes, pre_norm=False).replace(final_norm=True))
    return model.replace(embed_std=1.0)  # as torch's own tables start


def ajhalthor(sizes: Sizes) -> ModelConfig:
    """github.com/ajhalthor/Transformer-Neural-Network: norms last and none at the end; of characters."""
    return _tutorial(sizes, _source(sizes, pre_norm=False))


def _source(sizes: Sizes, pre_norm: bool, norm: LayerNormConfig = _NORM) -> TextTowerConfig:
    return TextTowerConfig(
        dim=sizes.dim,
        depth=sizes.depth,
        vocab_size=sizes.source_vocab,
        max_len=sizes.max_len,
        position=_WAVES,
        attention=SoftmaxAttentionConfig(num_heads=sizes.num_heads),
        ffn=StandardFeedForwardConfig(hidden_dim=sizes.hidden_dim, activation="relu"),
        norm=norm,
        residual=ResidualConfig(placement="pre" if pre_norm else "post"),
        final_norm=pre_norm,
    )


def _tutorial(sizes: Sizes, source: TextTowerConfig) -> ModelConfig:
    target = source.replace(depth=0, vocab_size=sizes.target_vocab)
    head = LanguageHeadConfig(text="target", tied=False, bias=True)
    return encoder_decoder(source, target, head).replace(init=XavierInitConfig())


def dropped(
    model: ModelConfig, *, embed: float = 0.0, probs: float = 0.0, inner: float = 0.0, step: float = 0.0
) -> ModelConfig:
    """A model with dropout: of embeddings, attention's probabilities, the feed-forward's inside, each step's output."""
    assert model.trunk is not None
    towers = {
        name: _dropped(own, probs, inner, step).replace(embed_dropout=embed) for name, own in model.towers.items()
    }
    return model.replace(towers=towers, trunk=_dropped(model.trunk, probs, inner, step))


def _dropped(own: StackConfig, probs: float, inner: float, step: float) -> StackConfig:
    assert own.attention is not None
    assert own.ffn is not None
    looks = own.cross_attention
    return own.replace(
        attention=own.attention.replace(dropout=probs),
        cross_attention=None if looks is None else looks.replace(dropout=probs),
        ffn=own.ffn.replace(dropout=inner),
        residual=own.residual.replace(dropout=step),
    )
