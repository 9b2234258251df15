"""Published systems of pictures and text: a digit and a question (000), one stream of words and patches (002)."""

from __future__ import annotations

from patchword.config import (
    CaptioningTaskConfig,
    CharactersTokenizerConfig,
    DataConfig,
    FirstPoolConfig,
    FusionConfig,
    GenerativeVQATaskConfig,
    GreedyDecodeConfig,
    HeadConfig,
    ImageConfig,
    ImageTowerConfig,
    JointFusionConfig,
    LabelHeadConfig,
    LanguageHeadConfig,
    LearnedPositionConfig,
    ModelConfig,
    OptimizerConfig,
    PrefixFusionConfig,
    ResidualConfig,
    RunConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    StandardFeedForwardConfig,
    TextTowerConfig,
    TorchInitConfig,
    TrainConfig,
    VQATaskConfig,
    WordsTokenizerConfig,
)
from patchword.models.presets import reference

# ------------------------------------------------------------------ system 000


def digits() -> RunConfig:
    """What digit is in a picture, said in words: system 000 with the sizes of its command line, made correct."""
    return _digits("ref-000", reference.digits())


def digits_table() -> RunConfig:
    """What digit is in a picture, said in words: system 000 with the sizes of its printed table, made correct."""
    return _digits("ref-000-table", reference.digits_table())


def _digits(name: str, model: ModelConfig) -> RunConfig:
    """Picture and question see one another, the answer sees both and what it has said (prefix language model)."""
    text, trunk = model.towers["text"], model.trunk
    assert isinstance(text, TextTowerConfig)
    assert trunk is not None
    assert trunk.attention is not None
    towers = {
        "image": model.towers["image"],
        "question": text.replace(shares="text", vocab_size=None, min_rows=None),
        "text": text,
    }
    return RunConfig(
        name=name,
        task=GenerativeVQATaskConfig(
            ask="Which digit is this?", answer="The digit is {}", decode=GreedyDecodeConfig(max_len=24)
        ),
        model=model.replace(
            towers=towers,
            fusion=PrefixFusionConfig(),
            trunk=trunk.replace(attention=trunk.attention.replace(causal=True)),
            init=TorchInitConfig(),  # as the original; 0.02 everywhere learns fewer digits (docs/results.md)
        ),
        data=DataConfig(
            image=ImageConfig(height=28, width=28, cache="memory"),
            tokenizer=CharactersTokenizerConfig(lowercase=False),
        ),
        train=TrainConfig(steps=1000, optimizer=OptimizerConfig(lr=2e-3, weight_decay=0.01)),
    )


# ------------------------------------------------------------------ system 002


def single_stream() -> RunConfig:
    """Words and patches in one stack, post-norm, answers read off the cls token: system 002, made correct."""
    model = _stream(JointFusionConfig(reader="image"), {"label": LabelHeadConfig(pool=FirstPoolConfig())}, causal=False)
    return _run("ref-002-vqa", VQATaskConfig(question="text"), model)


def single_stream_says() -> RunConfig:
    """System 002 as what says text: the picture as a prefix, each word sees those before it."""
    model = _stream(PrefixFusionConfig(), {"text": LanguageHeadConfig(tied=False, bias=True)}, causal=True)
    return _run("ref-002", CaptioningTaskConfig(), model)


def _stream(fusion: FusionConfig, heads: dict[str, HeadConfig], causal: bool) -> ModelConfig:
    image = ImageTowerConfig(
        dim=768,
        depth=0,
        image_size=(224, 224),
        patch_size=(16, 16),
        cls_token=True,
        position=LearnedPositionConfig(),
    )
    text = TextTowerConfig(dim=768, depth=0, max_len=512, position=LearnedPositionConfig())
    trunk = StackConfig(
        dim=768,
        depth=6,
        attention=SoftmaxAttentionConfig(num_heads=12, causal=causal, dropout=0.1),
        ffn=StandardFeedForwardConfig(hidden_dim=3072, activation="relu", dropout=0.1),
        residual=ResidualConfig(placement="post", dropout=0.1),
    )
    return ModelConfig(towers={"image": image, "text": text}, fusion=fusion, trunk=trunk, heads=heads)


def _run(name: str, task: VQATaskConfig | CaptioningTaskConfig, model: ModelConfig) -> RunConfig:
    return RunConfig(
        name=name,
        task=task,
        model=model,
        data=DataConfig(
            image=ImageConfig(height=224, width=224), tokenizer=WordsTokenizerConfig(vocab_size=30_522, min_frequency=1)
        ),
        train=TrainConfig(steps=1500, optimizer=OptimizerConfig(lr=1e-3)),
    )
