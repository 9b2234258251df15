"""Models of well-known shapes as model configurations, without a task; `patchword convert` reads weights of most.

Their numbers are exactly those of the named models in Hugging Face's library, but for what no part of ours reads: the
temperature of CLIP's loss, and BERT's table of two segments, of which the first is part of its table of places.
"""

from __future__ import annotations

from collections.abc import Callable

from patchword.config import (
    EmbeddingHeadConfig,
    FirstPoolConfig,
    ImageTowerConfig,
    LanguageHeadConfig,
    LastPoolConfig,
    LayerNormConfig,
    LearnedPositionConfig,
    ModelConfig,
    ResidualConfig,
    RMSNormConfig,
    RotaryPositionConfig,
    SoftmaxAttentionConfig,
    StandardFeedForwardConfig,
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


def clip(image: int, text: int, out_dim: int, depth: int, patch: int, side: int) -> ModelConfig:
    """CLIP of some widths (Radford et al. 2021): two towers, each read off into one space; heads are 64 wide."""
    ffn = StandardFeedForwardConfig(activation="quick_gelu")
    pictures = ImageTowerConfig(
        dim=image,
        depth=depth,
        image_size=(side, side),
        patch_size=(patch, patch),
        cls_token=True,
        patch_bias=False,
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
        position=LearnedPositionConfig(),
        attention=SoftmaxAttentionConfig(num_heads=image // 64),
        ffn=ffn,
        entry_norm=True,
    )
    words = TextTowerConfig(
        dim=text,
        depth=depth,
        vocab_size=49_408,
        max_len=77,
        position=LearnedPositionConfig(),
        attention=SoftmaxAttentionConfig(num_heads=text // 64, causal=True),
        ffn=ffn,
    )
    return ModelConfig(
        towers={"image": pictures, "text": words},
        heads={
            "image": EmbeddingHeadConfig(source="image", out_dim=out_dim, pool=FirstPoolConfig()),
            "text": EmbeddingHeadConfig(source="text", out_dim=out_dim, pool=LastPoolConfig()),
        },
    )


def clip_tiny() -> ModelConfig:
    """A CLIP of 4 layers for pictures of 64 x 64."""
    return clip(image=192, text=192, out_dim=128, depth=4, patch=8, side=64)


def clip_small() -> ModelConfig:
    """A CLIP with the picture's tower of ViT-S/16."""
    return clip(image=384, text=384, out_dim=384, depth=12, patch=16, side=224)


def clip_base() -> ModelConfig:
    """CLIP with ViT-B/32."""
    return clip(image=768, text=512, out_dim=512, depth=12, patch=32, side=224)


SHAPES: dict[str, Callable[[], ModelConfig]] = {
    "gpt-tiny": gpt_tiny,
    "gpt-small": reference.gpt,
    "gpt-medium": reference.gpt_medium,
    "decoder-small": decoder,
    "bert-small": bert_small,
    "clip-tiny": clip_tiny,
    "clip-small": clip_small,
    "clip-base": clip_base,
}
"""By name; `create_model` takes them, too."""
