"""Models of the published systems that this toolkit is measured against, as model configurations: shapes, no task.

Each has exactly the parameters of its original; what was a bug in an original is not in it. `patchword size NAME
--formula published` compares what was published about a model with what is true of it.
"""

from __future__ import annotations

from patchword.config import (
    FirstPoolConfig,
    GLUConfig,
    ImageTowerConfig,
    JointFusionConfig,
    LabelHeadConfig,
    LanguageHeadConfig,
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
    image: int = 4,
    text: int = 512,
    image_depth: int = 1,
    depth: int = 2,
    vocab_size: int = 81,
    min_rows: int | None = 82,
) -> ModelConfig:
    """A picture of a digit and a text, read as one sequence (MultiModalTransformer, the sizes of its command line).

    Its table of 81 characters has a row more than there are scores; that of a larger vocabulary has not.
    """
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
    words = TextTowerConfig(dim=text, depth=0, vocab_size=vocab_size, min_rows=min_rows, max_len=64)
    return ModelConfig(
        towers={"image": pictures, "text": words},
        fusion=JointFusionConfig(projector="linear"),
        trunk=StackConfig(
            dim=text,
            depth=depth,
            position=RotaryPositionConfig(),
            attention=attention,
            ffn=GLUConfig(hidden_dim=128, activation="gelu_tanh", bias=False),
            norm=norm,
        ),
        heads={"text": LanguageHeadConfig(tied=False, bias=True)},
    )


def digits_table() -> ModelConfig:
    """The same with the sizes of its published table."""
    return digits(image=512, text=128, image_depth=2, depth=1, vocab_size=257_153, min_rows=None)


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
