"""Captioners: a picture in, a sentence out."""

from __future__ import annotations

from patchword.config import (
    AugmentConfig,
    BatchConfig,
    BeamDecodeConfig,
    BPETokenizerConfig,
    CaptioningTaskConfig,
    CrossFusionConfig,
    DataConfig,
    ImageConfig,
    ImageTowerConfig,
    LanguageHeadConfig,
    LearnedPositionConfig,
    ModelConfig,
    NoPositionConfig,
    OptimizerConfig,
    PrefixFusionConfig,
    ResidualConfig,
    RMSNormConfig,
    RotaryPositionConfig,
    RunConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    SwiGLUConfig,
    TextTowerConfig,
    TrainConfig,
    WordsTokenizerConfig,
)


def _model(
    dim: int, heads: int, depths: tuple[int, int], image: int, patch: int, max_len: int, dropout: float
) -> ModelConfig:
    """An image encoder and a decoder that looks at it through cross-attention."""
    residual = ResidualConfig(dropout=dropout)
    own = SoftmaxAttentionConfig(num_heads=heads)
    return ModelConfig(
        towers={
            "image": ImageTowerConfig(
                dim=dim,
                depth=depths[0],
                image_size=(image, image),
                patch_size=(patch, patch),
                position=LearnedPositionConfig(),
                attention=own,
                residual=residual,
                embed_dropout=dropout,
            ),
            "text": TextTowerConfig(
                dim=dim, depth=0, max_len=max_len, position=LearnedPositionConfig(), embed_dropout=dropout
            ),
        },
        fusion=CrossFusionConfig(),
        trunk=StackConfig(
            dim=dim,
            depth=depths[1],
            attention=own.replace(causal=True),
            cross_attention=own,
            residual=residual,
        ),
        heads={"text": LanguageHeadConfig()},
    )


def tiny() -> RunConfig:
    """A captioner that learns the embedded scenes in minutes on two cores (cross-attention decoder)."""
    return RunConfig(
        name="captioner-tiny",
        task=CaptioningTaskConfig(),
        model=_model(dim=128, heads=4, depths=(4, 3), image=64, patch=8, max_len=48, dropout=0.0),
        data=DataConfig(tokenizer=WordsTokenizerConfig(vocab_size=512, min_frequency=1)),
        train=TrainConfig(steps=1000, optimizer=OptimizerConfig(lr=1.5e-3)),
    )


def small() -> RunConfig:
    """A captioner for some thousands of photos, from scratch on a CPU or a small GPU (cross-attention decoder)."""
    return RunConfig(
        name="captioner-small",
        task=CaptioningTaskConfig(label_smoothing=0.1, decode=BeamDecodeConfig(num_beams=3, max_len=30)),
        model=_model(dim=256, heads=4, depths=(6, 4), image=112, patch=16, max_len=48, dropout=0.1),
        data=DataConfig(
            image=ImageConfig(height=112, width=112, augment=AugmentConfig(crop=0.6, ratio=1.2, flip=0.5)),
            tokenizer=WordsTokenizerConfig(vocab_size=4096, min_frequency=4),
            batch=BatchConfig(size=64),
        ),
        train=TrainConfig(steps=6000, optimizer=OptimizerConfig(lr=7e-4), eval_every=1000, eval_samples=250),
    )


def base() -> RunConfig:
    """A captioner of ViT-Base size for hundreds of thousands of photos on a GPU (cross-attention decoder)."""
    return RunConfig(
        name="captioner-base",
        task=CaptioningTaskConfig(label_smoothing=0.1, decode=BeamDecodeConfig(max_len=40)),
        model=_model(dim=768, heads=12, depths=(12, 12), image=224, patch=16, max_len=64, dropout=0.1),
        data=DataConfig(
            image=ImageConfig(height=224, width=224, augment=AugmentConfig(crop=0.5, ratio=1.33, flip=0.5)),
            tokenizer=BPETokenizerConfig(vocab_size=16_384),
            batch=BatchConfig(size=256),
            workers=8,
        ),
        train=TrainConfig(
            steps=100_000, optimizer=OptimizerConfig(lr=3e-4), precision="bf16", compile=True, eval_every=5000
        ),
    )


def prefix_small() -> RunConfig:
    """A captioner that reads the picture as a prefix of its sentence, in one modern decoder."""
    small_run = small()
    image = small_run.model.towers["image"]
    norm, ffn, attention = RMSNormConfig(), SwiGLUConfig(bias=False), SoftmaxAttentionConfig(num_heads=4, bias=False)
    model = small_run.model.replace(
        towers={
            "image": image,
            "text": TextTowerConfig(dim=256, depth=0, max_len=48, position=NoPositionConfig(), embed_dropout=0.1),
        },
        fusion=PrefixFusionConfig(projector="linear"),
        trunk=StackConfig(
            dim=256,
            depth=6,
            position=RotaryPositionConfig(),
            attention=attention.replace(causal=True, out_bias=False),
            ffn=ffn,
            norm=norm,
            residual=ResidualConfig(dropout=0.1),
        ),
    )
    return small_run.replace(name="captioner-prefix-small", model=model)
