"""Language models of today: GPT-2's shapes, a modern decoder, and the quickest way to readable characters on a CPU."""

from __future__ import annotations

from patchword.config import (
    BatchConfig,
    BPETokenizerConfig,
    CharactersTokenizerConfig,
    CosineScheduleConfig,
    DataConfig,
    LanguageHeadConfig,
    LanguageTaskConfig,
    LayerNormConfig,
    LearnedPositionConfig,
    ModelConfig,
    MuonConfig,
    OptimizerConfig,
    ReLU2Config,
    RMSNormConfig,
    RotaryPositionConfig,
    RunConfig,
    SampleDecodeConfig,
    SoftmaxAttentionConfig,
    StandardFeedForwardConfig,
    SwiGLUConfig,
    TextTowerConfig,
    TrainConfig,
)
from patchword.config.optimizer import LinearScheduleConfig


def gpt_model(
    depth: int = 12, num_heads: int = 12, head_dim: int = 64, max_len: int = 1024, vocab_size: int | None = 50_257
) -> ModelConfig:
    """GPT-2 small (Radford et al. 2019), or a language model of other sizes and its kind."""
    text = TextTowerConfig(
        dim=num_heads * head_dim,
        depth=depth,
        vocab_size=vocab_size,
        max_len=max_len,
        position=LearnedPositionConfig(),
        attention=SoftmaxAttentionConfig(num_heads=num_heads, causal=True),
        ffn=StandardFeedForwardConfig(activation="gelu_tanh"),
    )
    return ModelConfig(towers={"text": text}, heads={"text": LanguageHeadConfig(source="text")})


def decoder_model(
    dim: int = 512, depth: int = 8, num_heads: int = 8, num_kv_heads: int = 2, vocab_size: int | None = 32_000
) -> ModelConfig:
    """A modern decoder: rotary positions, RMSNorm, SwiGLU, grouped heads, a tied table (Llama's parts)."""
    text = TextTowerConfig(
        dim=dim,
        depth=depth,
        vocab_size=vocab_size,
        max_len=2048,
        position=RotaryPositionConfig(),
        attention=SoftmaxAttentionConfig(
            num_heads=num_heads, num_kv_heads=num_kv_heads, causal=True, bias=False, out_bias=False
        ),
        ffn=SwiGLUConfig(bias=False),
        norm=RMSNormConfig(),
    )
    return ModelConfig(towers={"text": text}, heads={"text": LanguageHeadConfig(source="text")})


def language_run(name: str, model: ModelConfig, data: DataConfig, train: TrainConfig) -> RunConfig:
    """A run that models language; its samples are short enough to be read."""
    decode = SampleDecodeConfig(max_len=200, temperature=0.8)
    return RunConfig(name=name, task=LanguageTaskConfig(decode=decode), model=model, data=data, train=train)


def characters(batch: int) -> DataConfig:
    """Characters as they stand, capitals and ends of lines included, and nothing else."""
    tokenizer = CharactersTokenizerConfig(lowercase=False, special_tokens=False)
    return DataConfig(tokenizer=tokenizer, batch=BatchConfig(size=batch))


def _pieces(vocab_size: int, batch: int) -> DataConfig:
    return DataConfig(
        tokenizer=BPETokenizerConfig(lowercase=False, vocab_size=vocab_size), batch=BatchConfig(size=batch), workers=2
    )


def _trained(lr: float, steps: int, accumulate: int = 1) -> TrainConfig:
    return TrainConfig(
        steps=steps,
        accumulate=accumulate,
        optimizer=OptimizerConfig(lr=lr, betas=(0.9, 0.95), weight_decay=0.1),
        schedule=CosineScheduleConfig(warmup=min(2000, steps // 20), final=0.1),
        precision="bf16",
        compile=True,
        eval_every=max(250, steps // 50),
        eval_samples=500,
    )


def gpt_tiny() -> RunConfig:
    """A GPT-2 of 4 layers and short windows, which a CPU trains on a book in minutes."""
    model = gpt_model(depth=4, num_heads=4, head_dim=32, max_len=256, vocab_size=None)
    data = DataConfig(tokenizer=BPETokenizerConfig(lowercase=False, vocab_size=8192), batch=BatchConfig(size=16))
    train = TrainConfig(
        steps=1000,
        optimizer=OptimizerConfig(lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1),
        schedule=CosineScheduleConfig(warmup=50, final=0.1),
        eval_every=250,
    )
    return language_run("gpt-tiny", model, data, train)


def gpt_small() -> RunConfig:
    """GPT-2 small: width 768, 12 layers, 12 heads, windows of 1,024 pieces."""
    return language_run("gpt-small", gpt_model(), _pieces(50_257, 16), _trained(6e-4, 100_000, accumulate=8))


def gpt_medium() -> RunConfig:
    """GPT-2 medium: width 1,024, 24 layers, 16 heads."""
    model = gpt_model(depth=24, num_heads=16)
    return language_run("gpt-medium", model, _pieces(50_257, 8), _trained(3e-4, 100_000, accumulate=16))


def decoder_small() -> RunConfig:
    """A modern decoder: rotary positions, RMSNorm, SwiGLU, four queries to a key, windows of 2,048 pieces."""
    return language_run("decoder-small", decoder_model(), _pieces(32_000, 16), _trained(1e-3, 50_000, accumulate=4))


def gpt_fast() -> RunConfig:
    """Characters in the least time on two cores: two layers, normed queries and keys, Muon (docs/tasks/language.md)."""
    norm = LayerNormConfig(bias=False)  # one kernel on a CPU, where RMSNorm is five
    text = TextTowerConfig(
        dim=128,
        depth=2,
        max_len=64,
        position=RotaryPositionConfig(),
        attention=SoftmaxAttentionConfig(num_heads=4, causal=True, bias=False, out_bias=False, qk_norm=norm),
        ffn=ReLU2Config(bias=False),
        norm=norm,
    )
    model = ModelConfig(towers={"text": text.replace(vocab_size=65)}, heads={"text": LanguageHeadConfig(source="text")})
    optimizer = MuonConfig(lr=8e-3, betas=(0.9, 0.95), weight_decay=0.1, momentum=0.85, iterations=3)
    train = TrainConfig(steps=380, optimizer=optimizer, schedule=LinearScheduleConfig(warmup=20))
    return language_run("gpt-fast", model, characters(12), train)
