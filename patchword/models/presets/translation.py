"""Translators: a text in, a text of another language out. Two text towers; the target's tokens look at the source's."""

from __future__ import annotations

from patchword.config import (
    BatchConfig,
    BeamDecodeConfig,
    BPETokenizerConfig,
    CharactersTokenizerConfig,
    ConstantScheduleConfig,
    DataConfig,
    DecodeConfig,
    GreedyDecodeConfig,
    ImageTowerConfig,
    LanguageHeadConfig,
    ModelConfig,
    NoPositionConfig,
    NormalInitConfig,
    OptimizerConfig,
    RelativeBiasPositionConfig,
    RMSNormConfig,
    RunConfig,
    SinusoidalPositionConfig,
    SoftmaxAttentionConfig,
    StandardFeedForwardConfig,
    TextTowerConfig,
    TrainConfig,
    TranslationTaskConfig,
    WordsTokenizerConfig,
    XavierInitConfig,
)
from patchword.models.presets import tutorials
from patchword.models.presets.tutorials import Sizes, dropped, encoder_decoder

_DROPOUT = 0.1  # of all published models
_GREEDY = GreedyDecodeConfig()


def tiny() -> RunConfig:
    """A translator that learns the captions of the embedded scenes, English to German, in minutes on two cores."""
    return RunConfig(
        name="translator-tiny",
        task=TranslationTaskConfig(decode=GreedyDecodeConfig(max_len=64)),
        model=_modern(dim=128, depth=2, hidden_dim=256, max_len=64, dropout=0.0),
        data=DataConfig(tokenizer=WordsTokenizerConfig(vocab_size=512, min_frequency=1, lowercase=False)),
        train=TrainConfig(steps=1000, optimizer=OptimizerConfig(lr=2e-3)),
    )


def image_tiny() -> RunConfig:
    """A translator that also sees the picture: embedded scenes, or pairs of captions with photos (docs/tasks)."""
    run = tiny()
    image = ImageTowerConfig(
        dim=128,
        depth=2,
        patch_size=(16, 16),
        stem=(16, 64, 128),
        position=SinusoidalPositionConfig(),
        attention=SoftmaxAttentionConfig(num_heads=4),
        ffn=StandardFeedForwardConfig(hidden_dim=256),
    )
    return run.replace(
        name="translator-image-tiny",
        task=run.task.replace(image="image"),
        model=run.model.replace(towers={"image": image, **run.model.towers}),
        data=run.data.replace(batch=BatchConfig(size=16, captions=5)),
    )


def small() -> RunConfig:
    """A translator for some ten thousands of short sentences, from scratch in minutes on a CPU."""
    return RunConfig(
        name="translator-small",
        task=TranslationTaskConfig(label_smoothing=0.1, decode=BeamDecodeConfig(num_beams=4, max_len=64)),
        model=_modern(dim=192, depth=2, hidden_dim=576, max_len=96, dropout=0.1),
        data=DataConfig(
            tokenizer=BPETokenizerConfig(vocab_size=5000, lowercase=False), batch=BatchConfig(size=32, bucket=4)
        ),
        train=TrainConfig(steps=6000, optimizer=OptimizerConfig(lr=1e-3), eval_every=1000, eval_samples=200),
    )


def _modern(dim: int, depth: int, hidden_dim: int, max_len: int, dropout: float) -> ModelConfig:
    """One table for both languages and the scores."""
    source = TextTowerConfig(
        dim=dim,
        depth=depth,
        max_len=max_len,
        embed_scale=True,
        position=SinusoidalPositionConfig(),
        attention=SoftmaxAttentionConfig(num_heads=4),
        ffn=StandardFeedForwardConfig(hidden_dim=hidden_dim, activation="relu"),
    )
    target = source.replace(depth=0, shares="source")
    model = encoder_decoder(source, target, LanguageHeadConfig(text="target"))
    model = model.replace(init=XavierInitConfig(), embed_std=dim**-0.5)
    return dropped(model, embed=dropout, probs=0.0, inner=dropout, step=dropout)


# ------------------------------------------------------------------ models of public tutorials


def hkproj() -> RunConfig:
    """Tutorial model 1, hkproj's "Attention is all you need": words, norms first, no offsets in attention."""
    model = _dropped_everywhere(tutorials.hkproj(Sizes(max_len=350)))
    words = WordsTokenizerConfig(vocab_size=30_000, lowercase=False)
    adam = OptimizerConfig(lr=1e-4, betas=(0.9, 0.999), eps=1e-9, weight_decay=0.0)
    return _run("ref-001-m1", model, words, BatchConfig(size=8, bucket=0), _constant(72_740, adam), smoothing=0.1)


def article() -> RunConfig:
    """Tutorial model 2, of a much-copied article: norms last, its data are random numbers (see docs/results.md)."""
    model = dropped(tutorials.article(Sizes(max_len=100)), embed=_DROPOUT, step=_DROPOUT)
    words = WordsTokenizerConfig(vocab_size=5000, min_frequency=1)
    return _run("ref-001-m2", model, words, BatchConfig(size=64, bucket=0), _constant(100, _ADAM))


def evans() -> RunConfig:
    """Tutorial model 3, SamLynnEvans': words, norms first, three beams; its positions have the right exponent here."""
    model = _dropped_everywhere(tutorials.evans(Sizes(max_len=80)))
    words = WordsTokenizerConfig(vocab_size=30_000)
    beams = BeamDecodeConfig(num_beams=3, length_penalty=0.7)
    return _run("ref-001-m3", model, words, BatchConfig(max_tokens=1500, bucket=0), _constant(20_000, _ADAM), beams)


def torch_transformer() -> RunConfig:
    """Tutorial model 5, torch's nn.Transformer (44,140,544) with the tables, positions and scores that it lacks."""
    model = _dropped_everywhere(tutorials.torch_transformer(Sizes(max_len=100)))
    words = WordsTokenizerConfig(vocab_size=30_000)
    return _run("ref-001-m5", model, words, BatchConfig(bucket=0), _constant(20_000, _ADAM))


def ajhalthor() -> RunConfig:
    """Tutorial model 6, ajhalthor's: characters, one layer, norms last; English to Kannada as published."""
    sizes = Sizes(depth=1, max_len=200, source_vocab=71, target_vocab=125)
    model = dropped(tutorials.ajhalthor(sizes), embed=_DROPOUT, inner=_DROPOUT, step=_DROPOUT)
    adam = OptimizerConfig(lr=1e-4, betas=(0.9, 0.999), weight_decay=0.0)
    return _run(
        "ref-001-m6", model, CharactersTokenizerConfig(), BatchConfig(size=30, bucket=0), _constant(54_670, adam)
    )


_ADAM = OptimizerConfig(lr=1e-4, betas=(0.9, 0.98), eps=1e-9, weight_decay=0.0)  # Vaswani et al. 2017, but for the rate


def _dropped_everywhere(model: ModelConfig) -> ModelConfig:
    return dropped(model, embed=_DROPOUT, probs=_DROPOUT, inner=_DROPOUT, step=_DROPOUT)


def _constant(steps: int, optimizer: OptimizerConfig) -> TrainConfig:
    return TrainConfig(
        steps=steps, optimizer=optimizer, schedule=ConstantScheduleConfig(warmup=0), clip=None, save_minutes=10.0
    )


def _run(
    name: str,
    model: ModelConfig,
    tokenizer: WordsTokenizerConfig | CharactersTokenizerConfig,
    batch: BatchConfig,
    train: TrainConfig,
    decode: DecodeConfig = _GREEDY,
    smoothing: float = 0.0,
) -> RunConfig:
    target = model.towers["target"]
    assert isinstance(target, TextTowerConfig)
    task = TranslationTaskConfig(label_smoothing=smoothing, decode=decode.replace(max_len=target.max_len))
    return RunConfig(name=name, task=task, model=model, data=DataConfig(tokenizer=tokenizer, batch=batch), train=train)


# ------------------------------------------------------------------ T5


def t5_model() -> ModelConfig:
    """T5-small (Raffel et al. 2020): one table for source, target and scores; distances as biases of scores."""
    source = TextTowerConfig(
        dim=512,
        depth=6,
        vocab_size=32_128,
        max_len=512,
        position=RelativeBiasPositionConfig(),
        attention=SoftmaxAttentionConfig(num_heads=8, head_dim=64, bias=False, out_bias=False, scale=1.0),
        ffn=StandardFeedForwardConfig(activation="relu", bias=False),
        norm=RMSNormConfig(),
    )
    target = source.replace(depth=0, position=NoPositionConfig(), shares="source", vocab_size=None)
    return encoder_decoder(source, target, LanguageHeadConfig(text="target"))


def t5_small() -> RunConfig:
    """The encoder-decoder of T5-small as a translator, from scratch: distances as biases, one table for everything."""
    model = _dropped_everywhere(t5_model())
    return RunConfig(
        name="t5-small",
        task=TranslationTaskConfig(label_smoothing=0.1, decode=GreedyDecodeConfig(max_len=128)),
        model=model.replace(init=NormalInitConfig(), embed_std=0.05),
        data=DataConfig(tokenizer=BPETokenizerConfig(vocab_size=32_128, lowercase=False)),
        train=TrainConfig(steps=50_000, optimizer=OptimizerConfig(lr=5e-4), eval_every=5000),
    )
