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
    GreedyDecodeConfig,
    ImageConfig,
    ImageTowerConfig,
    InitConfig,
    LanguageHeadConfig,
    LearnedPositionConfig,
    ModelConfig,
    NoPositionConfig,
    NormalInitConfig,
    OptimizerConfig,
    PrefixFusionConfig,
    ResidualConfig,
    RMSNormConfig,
    RotaryPositionConfig,
    RunConfig,
    SinusoidalPositionConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    StandardFeedForwardConfig,
    SwiGLUConfig,
    TextTowerConfig,
    TrainConfig,
    WordsTokenizerConfig,
    XavierInitConfig,
)


def _image(dim: int, depth: int, side: int, heads: int, dropout: float) -> ImageTowerConfig:
    """A vision transformer that starts from little data: convolutions first, fixed positions (see docs/results.md)."""
    return ImageTowerConfig(
        dim=dim,
        depth=depth,
        image_size=(side, side),
        patch_size=(16, 16),
        stem=(32, 64, 128),
        position=SinusoidalPositionConfig(),
        attention=SoftmaxAttentionConfig(num_heads=heads),
        residual=ResidualConfig(dropout=dropout),
        embed_dropout=dropout,
    )


def _model(image: ImageTowerConfig, depth: int, max_len: int, init: InitConfig, embed_std: float) -> ModelConfig:
    """A decoder as wide as the image tower, which looks at it through cross-attention."""
    dropout = image.residual.dropout
    assert image.attention is not None
    return ModelConfig(
        towers={
            "image": image,
            "text": TextTowerConfig(
                dim=image.dim, depth=0, max_len=max_len, position=LearnedPositionConfig(), embed_dropout=dropout
            ),
        },
        fusion=CrossFusionConfig(),
        trunk=StackConfig(
            dim=image.dim,
            depth=depth,
            attention=image.attention.replace(causal=True),
            cross_attention=image.attention,
            ffn=image.ffn,
            residual=image.residual.replace(drop_path=0.0),
        ),
        heads={"text": LanguageHeadConfig()},
        init=init,
        embed_std=embed_std,
    )


def tiny() -> RunConfig:
    """A captioner that learns the embedded scenes in minutes on two cores (cross-attention decoder)."""
    ffn = StandardFeedForwardConfig(hidden_dim=256)  # four times the width buys nothing at this size
    stem = (16, 64, 128)  # nor do twice the channels where the picture is still large, and those cost a sixth of a step
    image = _image(dim=128, depth=4, side=64, heads=4, dropout=0.0).replace(ffn=ffn, stem=stem)
    return RunConfig(
        name="captioner-tiny",
        task=CaptioningTaskConfig(decode=GreedyDecodeConfig(max_len=48)),
        model=_model(image, depth=3, max_len=48, init=XavierInitConfig(), embed_std=0.05),
        data=DataConfig(tokenizer=WordsTokenizerConfig(vocab_size=512, min_frequency=1)),
        train=TrainConfig(steps=2000, optimizer=OptimizerConfig(lr=2e-3), save_every=300),
    )


def small() -> RunConfig:
    """A captioner for some thousands of photos, from scratch on a CPU or a small GPU (cross-attention decoder)."""
    image = _image(dim=256, depth=4, side=112, heads=4, dropout=0.1)
    return RunConfig(
        name="captioner-small",
        task=CaptioningTaskConfig(label_smoothing=0.1, decode=BeamDecodeConfig(num_beams=4, max_len=30)),
        model=_model(image, depth=4, max_len=48, init=XavierInitConfig(), embed_std=0.05),
        data=DataConfig(
            image=ImageConfig(
                height=112, width=112, cache="memory", augment=AugmentConfig(crop=0.6, ratio=1.2, flip=0.5)
            ),
            tokenizer=WordsTokenizerConfig(vocab_size=4096, min_frequency=4),
            batch=BatchConfig(size=32, captions=5),
        ),
        train=TrainConfig(steps=2000, optimizer=OptimizerConfig(lr=7e-4), eval_every=500, eval_samples=200),
    )


def base() -> RunConfig:
    """A captioner of ViT-Base size for hundreds of thousands of photos on a GPU (cross-attention decoder)."""
    image = _image(dim=768, depth=12, side=224, heads=12, dropout=0.1).replace(
        stem=(), position=LearnedPositionConfig()
    )
    return RunConfig(
        name="captioner-base",
        task=CaptioningTaskConfig(label_smoothing=0.1, decode=BeamDecodeConfig(max_len=40)),
        model=_model(image, depth=12, max_len=64, init=NormalInitConfig(), embed_std=0.02),
        data=DataConfig(
            image=ImageConfig(height=224, width=224, augment=AugmentConfig(crop=0.5, ratio=1.33, flip=0.5)),
            tokenizer=BPETokenizerConfig(vocab_size=16_384),
            batch=BatchConfig(size=256, captions=5),
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
