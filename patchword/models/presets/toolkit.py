"""The multi-modal toolkit of system 003: its base model, with exactly the parameters of its configuration file.

Two encoders of 12 layers, a fusion that reads both again in each of its layers, pooling by attention. What was a defect
of the original (a missing third modality gave NaN, half of each rotary head was dropped, ...) is not in it.
"""

from __future__ import annotations

from typing import Any

from patchword.config import (
    AttentionPoolConfig,
    BatchConfig,
    BeamDecodeConfig,
    CaptioningTaskConfig,
    CosineScheduleConfig,
    CrossFusionConfig,
    CrossLayersConfig,
    DataConfig,
    EmbeddingHeadConfig,
    FeaturesTowerConfig,
    HeadConfig,
    ImageConfig,
    ImageTowerConfig,
    LabelHeadConfig,
    LanguageHeadConfig,
    LayerNormConfig,
    LearnedPositionConfig,
    ModelConfig,
    OptimizerConfig,
    RereadFusionConfig,
    ResidualConfig,
    RetrievalTaskConfig,
    RunConfig,
    SimilarityHeadConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    StandardFeedForwardConfig,
    TaskConfig,
    TextTowerConfig,
    TowerConfig,
    TrainConfig,
    VQATaskConfig,
    WordPieceTokenizerConfig,
)

WIDTH, VOCABULARY = 768, 30_522
PATCH, SIDE = 16, 384  # 576 places: 24 x 24 patches
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
    """Up to 512 words; a preset has as many as its tokenizer, 30,522 at most."""
    return TextTowerConfig(**_ENCODER, max_len=512)


def feature_encoder() -> FeaturesTowerConfig:
    """Up to 576 vectors of a picture, as wide as tokens: there is no map."""
    return FeaturesTowerConfig(**_ENCODER, max_len=(SIDE // PATCH) ** 2)


def picture_encoder() -> ImageTowerConfig:
    """The same places, filled with patches of 16 x 16 pixels."""
    return ImageTowerConfig(**_ENCODER, image_size=(SIDE, SIDE), patch_size=(PATCH, PATCH))


def base_model(image: TowerConfig) -> ModelConfig:
    """The model of its configuration file: a vector of a text and of a picture, and scores of 3,000 answers.

    Args:
        image: the encoder of pictures.
    """
    model = _meeting(image)
    return model.replace(
        towers=model.towers | {"text": text_encoder().replace(vocab_size=VOCABULARY)},
        heads=_vectors() | {"answer": LabelHeadConfig(num_classes=3000, pool=_POOL)},
    )


def base() -> RunConfig:
    """Questions about pictures by the toolkit's base model: two encoders, fusion by cross-attention, 3,000 answers."""
    model = _meeting(picture_encoder()).replace(heads={"answer": LabelHeadConfig(pool=_POOL)})
    return _run("003-base", VQATaskConfig(question="text", head="answer", num_answers=3000), model)


def retrieval() -> RunConfig:
    """Pictures and texts in one space by the toolkit's two encoders, pooled by attention (InfoNCE at 0.07)."""
    model = ModelConfig(
        towers={"text": text_encoder(), "image": picture_encoder()},
        heads=_vectors() | {"similarity": SimilarityHeadConfig()},
    )
    return _run("003-retrieval", RetrievalTaskConfig(), model)


def captioning() -> RunConfig:
    """Captions of at most 50 tokens by the toolkit's encoder of pictures and a causal decoder of its shape, 5 beams."""
    text = TextTowerConfig(
        dim=WIDTH, depth=0, max_len=50, position=LearnedPositionConfig(), embed_dropout=_RESIDUAL.dropout
    )
    trunk = StackConfig(
        dim=WIDTH,
        depth=12,
        attention=_HEADS.replace(causal=True),
        cross_attention=_HEADS,
        ffn=_FFN,
        norm=_NORM,
        residual=_RESIDUAL,
    )
    model = ModelConfig(
        towers={"image": picture_encoder(), "text": text},
        fusion=CrossFusionConfig(),
        trunk=trunk,
        heads={"text": LanguageHeadConfig()},
    )
    task = CaptioningTaskConfig(decode=BeamDecodeConfig(num_beams=5, max_len=50))
    return _run("003-captioning", task, model)


def _meeting(image: TowerConfig) -> ModelConfig:
    """Both encoders, and two layers that read them again; what is read off is still to be said."""
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
        heads={},
    )


def _vectors() -> dict[str, HeadConfig]:
    return {name: EmbeddingHeadConfig(source=name, out_dim=None, pool=_POOL) for name in ("text", "image")}


def _run(name: str, task: TaskConfig, model: ModelConfig) -> RunConfig:
    """The recipe of its example: AdamW at 5e-5, a thousand steps of warm-up, a cosine down to a tenth."""
    return RunConfig(
        name=name,
        task=task,
        model=model,
        data=DataConfig(
            image=ImageConfig(height=SIDE, width=SIDE),
            tokenizer=WordPieceTokenizerConfig(vocab_size=VOCABULARY),
            batch=BatchConfig(size=32),
        ),
        train=TrainConfig(
            steps=10_000,
            optimizer=OptimizerConfig(lr=5e-5, weight_decay=0.01, betas=(0.9, 0.999)),
            schedule=CosineScheduleConfig(warmup=1000, final=0.1),
            eval_every=1000,
        ),
    )
