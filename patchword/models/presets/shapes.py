"""Models of well-known shapes as model configurations, without a task; `patchword convert` reads weights of most.

Their numbers are exactly those of the named models in Hugging Face's library, but for what no part of ours reads:
BERT's table of two segments, of which the first is part of its table of places.
"""

from __future__ import annotations

from collections.abc import Callable

from patchword.config import (
    LanguageHeadConfig,
    LayerNormConfig,
    LearnedPositionConfig,
    ModelConfig,
    ResidualConfig,
    RMSNormConfig,
    RotaryPositionConfig,
    SoftmaxAttentionConfig,
    SwiGLUConfig,
    TextTowerConfig,
)
from patchword.models.presets import reference


def gpt_tiny() -> ModelConfig:
    """A GPT-2 of 4 layers for short texts."""
    return reference.gpt(depth=4, num_heads=4, head_dim=32, max_len=256, vocab_size=8192)


def decoder(
    dim: int = 512, depth: int = 8, num_heads: int = 8, num_kv_heads: int = 2, vocab_size: int = 32_000
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


def bert_small() -> ModelConfig:
    """BERT-small with its head for masked words (Turc et al. 2019)."""
    norm = LayerNormConfig(eps=1e-12)
    text = TextTowerConfig(
        dim=512,
        depth=4,
        vocab_size=30_522,
        max_len=512,
        position=LearnedPositionConfig(),
        attention=SoftmaxAttentionConfig(num_heads=8),
        norm=norm,
        residual=ResidualConfig(placement="post"),
        entry_norm=True,
        final_norm=False,
    )
    head = LanguageHeadConfig(source="text", bias=True, transform="gelu", norm=norm)
    return ModelConfig(towers={"text": text}, heads={"text": head})


SHAPES: dict[str, Callable[[], ModelConfig]] = {
    "gpt-tiny": gpt_tiny,
    "gpt-small": reference.gpt,
    "gpt-medium": reference.gpt_medium,
    "decoder-small": decoder,
    "bert-small": bert_small,
}
"""By name; `create_model` takes them, too."""
