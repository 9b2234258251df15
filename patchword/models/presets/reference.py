"""Models of the published systems that this toolkit is measured against, as model configurations: shapes, no task.

Each has exactly the parameters of its original; what was a bug in an original is not in it. `patchword size NAME
--formula published` compares what was published about a model with what is true of it.
"""

from __future__ import annotations

from collections.abc import Callable

from patchword.config import (
    FirstPoolConfig,
    GEGLUConfig,
    ImageTowerConfig,
    JointFusionConfig,
    LabelHeadConfig,
    LanguageHeadConfig,
    LayerNormConfig,
    LearnedPositionConfig,
    LinformerAttentionConfig,
    ModelConfig,
    RMSNormConfig,
    RotaryPositionConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    StandardFeedForwardConfig,
    TextTowerConfig,
)


def digits(
    image: int = 4, text: int = 512, image_depth: int = 1, depth: int = 2, vocab_size: int | None = None
) -> ModelConfig:
    """A picture of a digit and a text, read as one sequence (MultiModalTransformer, the sizes of its command line)."""
    attention, norm = SoftmaxAttentionConfig(num_heads=4), RMSNormConfig(eps=1e-5)
    pictures = ImageTowerConfig(
        dim=image,
        depth=image_depth,
        image_size=(28, 28),
        patch_size=(1, 1),
        position=LearnedPositionConfig(),
        attention=attention,
        ffn=StandardFeedForwardConfig(hidden_dim=128, activation="gelu_tanh"),
    )
    return ModelConfig(
        towers={"image": pictures, "text": TextTowerConfig(dim=text, depth=0, vocab_size=vocab_size, max_len=64)},
        fusion=JointFusionConfig(projector="linear"),
        trunk=StackConfig(
            dim=text,
            depth=depth,
            position=RotaryPositionConfig(),
            attention=attention,
            ffn=GEGLUConfig(hidden_dim=128, bias=False),
            norm=norm,
        ),
        heads={"text": LanguageHeadConfig(tied=False, bias=True)},
    )


def digits_table() -> ModelConfig:
    """The same with the sizes of its published table."""
    return digits(image=512, text=128, image_depth=2, depth=1, vocab_size=257_153)


def gpt(
    depth: int = 12, num_heads: int = 12, head_dim: int = 64, max_len: int = 1024, vocab_size: int = 50_257
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


def gpt_medium() -> ModelConfig:
    """GPT-2 medium (Radford et al. 2019)."""
    return gpt(depth=24, num_heads=16)


def nanogpt() -> ModelConfig:
    """The language model of characters that nanoGPT trains on a CPU: no offsets anywhere."""
    model = gpt(depth=4, num_heads=4, head_dim=32, max_len=64, vocab_size=65)
    text = model.towers["text"]
    assert text.attention is not None
    assert text.ffn is not None
    plain = text.replace(
        attention=text.attention.replace(bias=False, out_bias=False),
        ffn=StandardFeedForwardConfig(activation="gelu", bias=False),  # its own GELU is exact, GPT-2's is not
        norm=LayerNormConfig(bias=False),
    )
    return model.replace(towers={"text": plain})


def colab_gpt() -> ModelConfig:
    """The language model of characters that Karpathy's lecture trains in a notebook: no offsets in q, k and v."""
    model = gpt(depth=4, num_heads=4, head_dim=16, max_len=32, vocab_size=65)
    text = model.towers["text"]
    assert text.attention is not None
    plain = text.replace(attention=text.attention.replace(bias=False), ffn=StandardFeedForwardConfig(activation="relu"))
    return model.replace(
        towers={"text": plain}, heads={"text": LanguageHeadConfig(source="text", tied=False, bias=True)}
    )


def vit_linformer() -> ModelConfig:
    """A vision transformer with Linformer attention for two classes (vit-pytorch 0.26.3 with linformer 0.2.1)."""
    image = ImageTowerConfig(
        dim=128,
        depth=12,
        image_size=(224, 224),
        patch_size=(32, 32),
        cls_token=True,
        position=LearnedPositionConfig(),
        attention=LinformerAttentionConfig(num_heads=8, max_len=50, pooled_len=64, sharing="headwise", bias=False),
    )
    head = LabelHeadConfig(source="image", num_classes=2, pool=FirstPoolConfig())
    return ModelConfig(towers={"image": image}, heads={"label": head})


MODELS: dict[str, Callable[[], ModelConfig]] = {
    "ref/000-table": digits_table,
    "ref/001-nanogpt": nanogpt,
    "ref/001-colab-gpt": colab_gpt,
    "ref/004-vit-linformer": vit_linformer,
    "gpt-small": gpt,
    "gpt-medium": gpt_medium,
}
"""By name."""
