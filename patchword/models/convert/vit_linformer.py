"""vit-pytorch's `efficient.ViT` (0.26, and later ones with norms around the patch map) with linformer's `Linformer`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

from torch import Tensor

from patchword.config import (
    FirstPoolConfig,
    ImageTowerConfig,
    LabelHeadConfig,
    LearnedPositionConfig,
    LinformerAttentionConfig,
    ModelConfig,
)
from patchword.models.convert.keymap import Entry, linear
from patchword.models.convert.layout import Layout
from patchword.models.convert.quirks import ChannelsLast
from patchword.models.convert.settings import Settings
from patchword.models.convert.transforms import Unwrapped

IMAGE = "towers.image"


class ViTLinformerLayout(Layout):
    """Its patches are read row, column, channel; its last norm stands in the head, before which only cls is taken."""

    name = "vit-linformer"
    model_types = ("vit-linformer",)

    def config(self, settings: Settings, weights: Mapping[str, Tensor]) -> ModelConfig:
        """An image tower and a head on its cls token. Pixels in 0..1 are read as they are."""
        normed = "to_patch_embedding.3.weight" in weights
        image = ImageTowerConfig(
            patch_norm=normed,
            embed_norm=normed,
            dim=settings.number("dim"),
            depth=settings.number("depth"),
            image_size=settings.side("image_size", 224),
            patch_size=settings.side("patch_size", 32),
            cls_token=True,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            position=LearnedPositionConfig(),
            attention=LinformerAttentionConfig(
                num_heads=settings.number("heads"),
                max_len=settings.number("seq_len"),
                pooled_len=settings.number("k"),
                sharing="headwise",
                bias=False,
            ),
        )
        head = LabelHeadConfig(source="image", num_classes=settings.number("num_classes"), pool=FirstPoolConfig())
        return ModelConfig(towers={"image": image}, heads={"label": head})

    def entries(self, config: ModelConfig, settings: Settings) -> Iterator[Entry]:
        """The key map."""
        image = cast(ImageTowerConfig, config.towers["image"])
        patches = ChannelsLast(image.channels, image.patch_size)
        yield Entry(("cls_token",), (f"{IMAGE}.embedding.cls",), Unwrapped(2))
        yield Entry(("pos_embedding",), (f"{IMAGE}.stack.position.table.weight",), Unwrapped(1))
        at = 2 if image.patch_norm else 1
        yield Entry((f"to_patch_embedding.{at}.weight",), (f"{IMAGE}.embedding.proj.weight",), patches)
        yield Entry((f"to_patch_embedding.{at}.bias",), (f"{IMAGE}.embedding.proj.bias",))
        if image.patch_norm:
            yield from linear("to_patch_embedding.1", f"{IMAGE}.embedding.patch_norm", patches)
            yield from linear("to_patch_embedding.3", f"{IMAGE}.embedding.norm")
        for i in range(image.depth):
            look, think = f"transformer.net.layers.{i}.0", f"transformer.net.layers.{i}.1"
            ours = f"{IMAGE}.stack.blocks.{i}"
            yield from linear(f"{look}.norm", f"{ours}.self_attn.norm")
            yield from linear(f"{think}.norm", f"{ours}.ffn.norm")
            for letter in "qkv":
                yield from linear(f"{look}.fn.to_{letter}", f"{ours}.self_attn.step.{letter}_proj", bias=False)
            yield from linear(f"{look}.fn.to_out", f"{ours}.self_attn.step.out_proj")
            for letter in "kv":
                map_ = f"{ours}.self_attn.step.mechanism.{letter}_map"
                yield Entry((f"{look}.fn.proj_{letter}",), (map_,))
            yield from linear(f"{think}.fn.w1", f"{ours}.ffn.step.up_proj")
            yield from linear(f"{think}.fn.w2", f"{ours}.ffn.step.down_proj")
        yield from linear("mlp_head.0", f"{IMAGE}.stack.norm")
        yield from linear("mlp_head.1", "heads.label.proj")
