"""The multi-modal toolkit of system 003: its base model, with exactly the parameters of its configuration file.

Two encoders of 12 layers, a fusion that reads both again in each of its layers, pooling by attention. What was a defect
of the original (a missing third modality gave NaN, half of each rotary head was dropped, ...) is not in it.
"""

from __future__ import annotations

from typing import Any

from patchword.config import (
    AttentionPoolConfig,
    CrossLayersConfig,
    EmbeddingHeadConfig,
    FeaturesTowerConfig,
    ImageTowerConfig,
    LabelHeadConfig,
    LayerNormConfig,
    LearnedPositionConfig,
    ModelConfig,
    RereadFusionConfig,
    ResidualConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    StandardFeedForwardConfig,
    TextTowerConfig,
    TowerConfig,
)

WIDTH, PATCH, SIDE = 768, 16, 384  # 576 places: 24 x 24 patches
_HEADS = SoftmaxAttentionConfig(num_heads=12, dropout=0.1)
_FFN = StandardFeedForwardConfig(hidden_dim=3072, dropout=0.1)
_NORM = LayerNormConfig(eps=1e-12)
_RESIDUAL = ResidualConfig(dropout=0.1)
_POOL = AttentionPoolConfig(num_heads=12)
_ENCODER: dict[str, Any] = {
    "dim": WIDTH,
    "depth": 12,
    "position": LearnedPositionConfig(),
    "attention": _HEADS,
    "ffn": _FFN,
    "norm": _NORM,
    "residual": _RESIDUAL,
}


def text_encoder() -> TextTowerConfig:
    """30,522 words at 512 places."""
    return TextTowerConfig(**_ENCODER, vocab_size=30_522, max_len=512)


def feature_encoder() -> FeaturesTowerConfig:
    """Up to 576 vectors of a picture, as wide as tokens: there is no map."""
    return FeaturesTowerConfig(**_ENCODER, max_len=(SIDE // PATCH) ** 2)


def picture_encoder() -> ImageTowerConfig:
    """The same places, filled with patches of 16 x 16 pixels."""
    return ImageTowerConfig(**_ENCODER, image_size=(SIDE, SIDE), patch_size=(PATCH, PATCH))


def base_model(image: TowerConfig, classes: int | None = 3000) -> ModelConfig:
    """Both encoders, two layers in which they meet, and what is read off: a vector of each, scores of answers.

    Args:
        image: the encoder of pictures.
        classes: how many answers; None: as many as the data has.
    """
    layers = CrossLayersConfig(
        depth=2,
        attention=_HEADS,
        cross_attention=_HEADS,
        ffn=_FFN,
        norm=_NORM,
        residual=_RESIDUAL,
        final_norm=False,
    )
    return ModelConfig(
        towers={"text": text_encoder(), "image": image},
        fusion=RereadFusionConfig(layers=layers),
        trunk=StackConfig(dim=WIDTH, depth=0, attention=None, ffn=None),
        heads={
            "text": EmbeddingHeadConfig(source="text", out_dim=None, pool=_POOL),
            "image": EmbeddingHeadConfig(source="image", out_dim=None, pool=_POOL),
            "answer": LabelHeadConfig(num_classes=classes, pool=_POOL),
        },
    )
