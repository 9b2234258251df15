"""A published listing of one stack over words, cls and patches (system 002), with its mistakes corrected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from patchword.config import (
    FirstPoolConfig,
    ImageTowerConfig,
    JointFusionConfig,
    LabelHeadConfig,
    LearnedPositionConfig,
    ModelConfig,
    ResidualConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    StandardFeedForwardConfig,
    TextTowerConfig,
)
from patchword.models.convert.keymap import Entry, linear
from patchword.models.convert.layout import Layout
from patchword.models.convert.settings import Settings
from patchword.models.convert.transforms import Split, Unwrapped


class SingleStreamLayout(Layout):
    """Post-norm blocks over [text | cls | patches]; the norm of its head is our trunk's last one, cls is read."""

    name = "single-stream"
    model_types = ("single-stream",)

    def config(self, settings: Settings, weights: Mapping[str, Tensor]) -> ModelConfig:
        """Two towers without blocks and a trunk that goes on with the picture. Pixels in 0..1 are read as they are."""
        dim, side = settings.number("d_model"), settings.side("img_size", 224)
        channels = settings.number("in_channels", 3)
        image = ImageTowerConfig(
            dim=dim,
            depth=0,
            image_size=side,
            patch_size=settings.side("patch_size", 16),
            channels=channels,
            cls_token=True,
            mean=(0.0,) * channels,
            std=(1.0,) * channels,
            position=LearnedPositionConfig(),
        )
        text = TextTowerConfig(
            dim=dim,
            depth=0,
            vocab_size=settings.number("vocab"),
            max_len=settings.number("text_positions", 512),
            position=LearnedPositionConfig(),
        )
        trunk = StackConfig(
            dim=dim,
            depth=settings.number("num_layers"),
            attention=SoftmaxAttentionConfig(num_heads=settings.number("num_heads")),
            ffn=StandardFeedForwardConfig(hidden_dim=settings.number("mlp_dim"), activation="relu"),
            residual=ResidualConfig(placement="post"),
        )
        head = LabelHeadConfig(num_classes=settings.number("vocab"), pool=FirstPoolConfig())
        fusion = JointFusionConfig(reader="image")
        return ModelConfig(towers={"image": image, "text": text}, fusion=fusion, trunk=trunk, heads={"label": head})

    def entries(self, config: ModelConfig, settings: Settings) -> Iterator[Entry]:
        """The key map."""
        assert config.trunk is not None
        yield Entry(("cls_token",), ("towers.image.embedding.cls",), Unwrapped(2))
        for name in ("text", "image"):
            yield Entry((f"{name}_pos_encoding",), (f"towers.{name}.stack.position.table.weight",), Unwrapped(1))
        yield from linear("text_embedding", "towers.text.embedding.table", bias=False)
        yield from linear("image_patch_embedding", "towers.image.embedding.proj")
        for i in range(config.trunk.depth):
            theirs, ours = f"transformer_layers.{i}", f"trunk.blocks.{i}"
            for part in ("weight", "bias"):
                names = tuple(f"{ours}.self_attn.step.{letter}_proj.{part}" for letter in "qkv")
                yield Entry((f"{theirs}.multi_head_attn.in_proj_{part}",), names, Split(3))
            yield from linear(f"{theirs}.multi_head_attn.out_proj", f"{ours}.self_attn.step.out_proj")
            yield from linear(f"{theirs}.ff.0", f"{ours}.ffn.step.up_proj")
            yield from linear(f"{theirs}.ff.3", f"{ours}.ffn.step.down_proj")
            yield from linear(f"{theirs}.norm1", f"{ours}.self_attn.norm")
            yield from linear(f"{theirs}.norm2", f"{ours}.ffn.norm")
        yield from linear("text_generation_head.0", "trunk.norm")
        yield from linear("text_generation_head.1", "heads.label.proj")
