"""Pictures with a text beside them: questions whose answer is chosen, captions that may be wrong."""

from __future__ import annotations

from patchword.config import (
    AttentionPoolConfig,
    AugmentConfig,
    BatchConfig,
    BottleneckFusionConfig,
    BPETokenizerConfig,
    ChatConfig,
    ClassificationTaskConfig,
    CrossFusionConfig,
    DataConfig,
    FusionConfig,
    GenerativeVQATaskConfig,
    GreedyDecodeConfig,
    ImageConfig,
    ImageTowerConfig,
    LabelHeadConfig,
    LanguageHeadConfig,
    LayersConfig,
    LearnedPositionConfig,
    ModelConfig,
    MuonConfig,
    OptimizerConfig,
    PrefixFusionConfig,
    ResidualConfig,
    RMSNormConfig,
    RotaryPositionConfig,
    RunConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    StandardFeedForwardConfig,
    SwappedMatchingConfig,
    SwiGLUConfig,
    TextTowerConfig,
    TrainConfig,
    VQATaskConfig,
    WordsTokenizerConfig,
    XavierInitConfig,
)
from patchword.models.presets import captioner


def _model(
    image: ImageTowerConfig, fusion: FusionConfig, depth: int, max_len: int, reads: str = "question"
) -> ModelConfig:
    """Words of tower `reads` meet the picture's patches in a trunk of `depth` blocks, as wide as the picture's."""
    assert image.attention is not None
    looks = isinstance(fusion, CrossFusionConfig)
    text = TextTowerConfig(
        dim=image.dim,
        depth=0,
        max_len=max_len,
        position=LearnedPositionConfig(),
        embed_dropout=image.embed_dropout,
    )
    trunk = StackConfig(
        dim=image.dim,
        depth=depth,
        attention=image.attention,
        cross_attention=image.attention if looks else None,
        ffn=image.ffn,
        residual=image.residual.replace(drop_path=0.0),
    )
    pool = AttentionPoolConfig(num_heads=image.attention.num_heads)
    return ModelConfig(
        towers={"image": image, reads: text},
        fusion=fusion,
        trunk=trunk,
        heads={"label": LabelHeadConfig(pool=pool)},
        init=XavierInitConfig(),
        embed_std=0.05,
    )


def tiny() -> RunConfig:
    """Questions about the embedded scenes or easy-VQA, learnt in minutes on two cores (cross-attention fusion)."""
    image = captioner.tiny().model.towers["image"]
    assert isinstance(image, ImageTowerConfig)
    return RunConfig(
        name="vqa-tiny",
        task=VQATaskConfig(),
        model=_model(image, CrossFusionConfig(reader="question"), depth=3, max_len=24),
        data=DataConfig(
            image=ImageConfig(cache="memory"), tokenizer=WordsTokenizerConfig(vocab_size=512, min_frequency=1)
        ),
        train=TrainConfig(
            steps=2500,
            optimizer=MuonConfig(lr=1e-3, matrix_lr=0.01),
            save_every=500,
            eval_samples=500,
            best_metric="accuracy",
        ),
    )


def small() -> RunConfig:
    """Questions about some thousands of photos: the words look at the patches (cross-attention fusion)."""
    return _small("vqa-small", CrossFusionConfig(reader="question"), depth=4)


def small_bottleneck() -> RunConfig:
    """The same size, but words and patches tell one another only what fits into four shared tokens (MBT)."""
    layers = LayersConfig(
        depth=4, attention=SoftmaxAttentionConfig(num_heads=4), residual=ResidualConfig(dropout=0.1), final_norm=False
    )
    return _small("vqa-small-bottleneck", BottleneckFusionConfig(layers=layers), depth=1)


def small_joint() -> RunConfig:
    """The same size, but words and patches look at one another in one sequence (single stream)."""
    return _small("vqa-small-joint", PrefixFusionConfig(reader="question"), depth=6)


def matcher_tiny() -> RunConfig:
    """Whether a caption is of this scene or of another one (cross-attention fusion)."""
    run = tiny()
    image = run.model.towers["image"]
    assert isinstance(image, ImageTowerConfig)
    return run.replace(
        name="matcher-tiny",
        task=ClassificationTaskConfig(caption="caption"),
        model=_model(image, CrossFusionConfig(reader="caption"), depth=3, max_len=64, reads="caption"),
        data=run.data.replace(matching=SwappedMatchingConfig()),  # those wrong in one thing teach nothing at first
    )


def matcher_small() -> RunConfig:
    """Whether a caption is of this photo or of another one (cross-attention fusion)."""
    run = small()
    image = run.model.towers["image"]
    assert isinstance(image, ImageTowerConfig)
    return run.replace(
        name="matcher-small",
        task=ClassificationTaskConfig(caption="caption"),
        model=_model(image, CrossFusionConfig(reader="caption"), depth=4, max_len=48, reads="caption"),
        data=run.data.replace(matching=SwappedMatchingConfig()),
    )


def _small(name: str, fusion: FusionConfig, depth: int) -> RunConfig:
    image = captioner.small().model.towers["image"]
    assert isinstance(image, ImageTowerConfig)
    image = image.replace(ffn=StandardFeedForwardConfig(hidden_dim=512))
    return RunConfig(
        name=name,
        task=VQATaskConfig(label_smoothing=0.1, num_answers=3000),
        model=_model(image, fusion, depth, max_len=40),
        data=DataConfig(
            image=ImageConfig(height=112, width=112, cache="memory", augment=AugmentConfig(crop=0.7, ratio=1.2)),
            tokenizer=WordsTokenizerConfig(vocab_size=4096, min_frequency=2),
            batch=BatchConfig(size=32),
        ),
        train=TrainConfig(
            steps=2000, optimizer=OptimizerConfig(lr=5e-4), eval_every=500, eval_samples=200, best_metric="accuracy"
        ),
    )


def vlm_small() -> RunConfig:
    """A small vision-language model: a ViT, a map of its patches, and a modern decoder that answers in a chat."""
    run = small()
    image = run.model.towers["image"]
    assert isinstance(image, ImageTowerConfig)
    text = TextTowerConfig(dim=384, depth=0, max_len=64, embed_dropout=0.1)
    attention = SoftmaxAttentionConfig(num_heads=6, num_kv_heads=2, bias=False, out_bias=False, causal=True)
    trunk = StackConfig(
        dim=384,
        depth=6,
        position=RotaryPositionConfig(),
        attention=attention,
        ffn=SwiGLUConfig(bias=False),
        norm=RMSNormConfig(),
        residual=ResidualConfig(dropout=0.1),
    )
    chat = ChatConfig()
    return run.replace(
        name="vlm-small",
        task=GenerativeVQATaskConfig(chat=chat, label_smoothing=0.1, decode=GreedyDecodeConfig(max_len=32)),
        model=run.model.replace(
            towers={"image": image, "question": text.replace(shares="text"), "text": text},
            fusion=PrefixFusionConfig(),
            trunk=trunk,
            heads={"text": LanguageHeadConfig()},
        ),
        data=run.data.replace(
            tokenizer=BPETokenizerConfig(marks=(chat.user, chat.assistant)), batch=BatchConfig(size=32, captions=4)
        ),
        train=run.train.replace(best_metric="loss"),
    )
