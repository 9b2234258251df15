"""Language models of published lectures and tutorials, each with its recipe (system 001)."""

from __future__ import annotations

from patchword.config import (
    BatchConfig,
    ConstantScheduleConfig,
    CosineScheduleConfig,
    DataConfig,
    LanguageHeadConfig,
    LayerNormConfig,
    ModelConfig,
    NoPositionConfig,
    OptimizerConfig,
    ResidualConfig,
    RunConfig,
    SGDConfig,
    SinusoidalPositionConfig,
    SoftmaxAttentionConfig,
    StandardFeedForwardConfig,
    StepScheduleConfig,
    TextTowerConfig,
    TorchInitConfig,
    TrainConfig,
    WordsTokenizerConfig,
)
from patchword.config.model import ScoresHeadConfig
from patchword.models.presets.language import characters, gpt_model, language_run

_ADAM = OptimizerConfig(betas=(0.9, 0.999), weight_decay=0.01, decays="all")
"""torch's AdamW as it comes."""
_STEADY = ConstantScheduleConfig(warmup=0)


def bigram() -> RunConfig:
    """A table of what follows what, and no more (Karpathy's lecture)."""
    text = TextTowerConfig(
        dim=65,
        depth=0,
        vocab_size=65,
        max_len=8,
        position=NoPositionConfig(),
        attention=None,
        ffn=None,
        final_norm=False,
    )
    model = ModelConfig(towers={"text": text}, heads={"text": ScoresHeadConfig(source="text")}, init=TorchInitConfig())
    train = TrainConfig(
        steps=3000, optimizer=_ADAM.replace(lr=1e-2), schedule=_STEADY, clip=None, seed=1337, save_minutes=None
    )
    return language_run("ref-001-bigram", model, characters(32), train)


def _lecture(depth: int, num_heads: int, head_dim: int, max_len: int, dropout: float) -> ModelConfig:
    """The lecture's GPT: no offsets of queries, keys and values, ReLU, a map of its own to scores."""
    model = gpt_model(depth, num_heads, head_dim, max_len, vocab_size=65)
    text = model.towers["text"]
    assert isinstance(text.attention, SoftmaxAttentionConfig)
    plain = text.replace(
        attention=text.attention.replace(bias=False, dropout=dropout),
        ffn=StandardFeedForwardConfig(activation="relu"),
        residual=ResidualConfig(dropout=dropout),
    )
    head = LanguageHeadConfig(source="text", tied=False, bias=True)
    return model.replace(towers={"text": plain}, heads={"text": head})


def colab_gpt() -> RunConfig:
    """The language model of characters that Karpathy's lecture trains in a notebook (model 8)."""
    model = _lecture(depth=4, num_heads=4, head_dim=16, max_len=32, dropout=0.0).replace(init=TorchInitConfig())
    train = TrainConfig(
        steps=5000,
        optimizer=_ADAM.replace(lr=1e-3),
        schedule=_STEADY,
        clip=None,
        seed=1337,
        eval_every=500,
        save_minutes=None,
    )
    return language_run("ref-001-m8", model, characters(16), train)


def video_gpt() -> RunConfig:
    """The model that Karpathy's lecture ends with, for a GPU (what model 4's page shows, not what its code is)."""
    model = _lecture(depth=6, num_heads=6, head_dim=64, max_len=256, dropout=0.2)
    train = TrainConfig(
        steps=5000, optimizer=_ADAM.replace(lr=3e-4), schedule=_STEADY, clip=None, seed=1337, eval_every=500
    )
    return language_run("ref-001-m4-video", model, characters(64), train)


def _torch_encoder(dim: int, depth: int, num_heads: int, hidden_dim: int, inner: float, outer: float) -> ModelConfig:
    """A causal `nn.TransformerEncoder` between a table and a map of its own to scores.

    Args:
        dim: width.
        depth: blocks.
        num_heads: heads.
        hidden_dim: inner width.
        inner: dropout of the layers.
        outer: dropout of what goes into them.
    """
    text = TextTowerConfig(
        dim=dim,
        depth=depth,
        max_len=35,
        embed_scale=True,
        embed_dropout=outer,
        position=SinusoidalPositionConfig(),
        attention=SoftmaxAttentionConfig(num_heads=num_heads, causal=True, dropout=inner),
        ffn=StandardFeedForwardConfig(hidden_dim=hidden_dim, activation="relu", dropout=inner),
        residual=ResidualConfig(placement="post", dropout=inner),
        final_norm=False,
    )
    head = LanguageHeadConfig(source="text", tied=False, bias=True)
    uniform = 0.1 / 3**0.5  # as wide as the original's, which is even between -0.1 and 0.1
    return ModelConfig(towers={"text": text}, heads={"text": head}, init=TorchInitConfig(), embed_std=uniform)


def _words(vocab_size: int) -> DataConfig:
    tokenizer = WordsTokenizerConfig(split="blanks", vocab_size=vocab_size, min_frequency=1)
    return DataConfig(tokenizer=tokenizer, batch=BatchConfig(size=20))


def word_language_model() -> RunConfig:
    """The language model of words of torch's examples, with a last norm (model 4, as its code is)."""
    model = _torch_encoder(dim=256, depth=6, num_heads=8, hidden_dim=1024, inner=0.1, outer=0.2)
    text = model.towers["text"].replace(final_norm=True)
    train = TrainConfig(
        steps=60_000, optimizer=SGDConfig(lr=5.0), schedule=_STEADY, clip=0.25, seed=1111, eval_every=3000
    )
    return language_run("ref-001-m4", model.replace(towers={"text": text}), _words(500), train)


def tutorial_language_model() -> RunConfig:
    """The language model of words of torch's tutorial on WikiText-2 (model 7), causal as it should be; 3 epochs."""
    model = _torch_encoder(dim=200, depth=2, num_heads=2, hidden_dim=200, inner=0.2, outer=0.2)
    epoch = 2928
    train = TrainConfig(
        steps=3 * epoch,
        optimizer=SGDConfig(lr=5.0),
        schedule=StepScheduleConfig(warmup=0, every=epoch, factor=0.95),
        clip=0.5,
        eval_every=epoch,
    )
    return language_run("ref-001-m7", model, _words(28_782), train)


def nanogpt_model(depth: int, num_heads: int, head_dim: int, max_len: int, vocab_size: int, bias: bool) -> ModelConfig:
    """nanoGPT: GPT-2 with an exact GELU, with or without offsets anywhere."""
    model = gpt_model(depth, num_heads, head_dim, max_len, vocab_size)
    text = model.towers["text"]
    assert isinstance(text.attention, SoftmaxAttentionConfig)
    plain = text.replace(
        attention=text.attention.replace(bias=bias, out_bias=bias),
        ffn=StandardFeedForwardConfig(activation="gelu", bias=bias),
        norm=LayerNormConfig(bias=bias),
    )
    return model.replace(towers={"text": plain})


def nanogpt() -> RunConfig:
    """nanoGPT's reproduction of GPT-2 small: half a million tokens a step, 600,000 steps on a node of GPUs."""
    model = nanogpt_model(depth=12, num_heads=12, head_dim=64, max_len=1024, vocab_size=50_257, bias=True)
    train = TrainConfig(
        steps=600_000,
        accumulate=40,
        optimizer=OptimizerConfig(lr=6e-4, betas=(0.9, 0.95), weight_decay=0.1, decays="matrices"),
        schedule=CosineScheduleConfig(warmup=2000, final=0.1),
        precision="bf16",
        compile=True,
        eval_every=1000,
        eval_samples=2400,
    )
    data = DataConfig(batch=BatchConfig(size=12))
    return language_run("ref-001-nanogpt", model, data, train)


def nanogpt_cpu() -> RunConfig:
    """The language model of characters that nanoGPT trains on a CPU: no offsets anywhere, 2,000 steps."""
    model = nanogpt_model(depth=4, num_heads=4, head_dim=32, max_len=64, vocab_size=65, bias=False)
    train = TrainConfig(
        steps=2000,
        optimizer=OptimizerConfig(lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1, decays="matrices"),
        schedule=CosineScheduleConfig(warmup=100, final=0.1),
        seed=1337,
        eval_every=250,
        save_minutes=None,
    )
    return language_run("ref-001-nanogpt-cpu", model, characters(12), train)
