"""SigLIP in Hugging Face's layout (`SiglipModel`): two towers; a learned query reads the picture off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from torch import Tensor

from patchword.config import (
    AttentionPoolConfig,
    EmbeddingHeadConfig,
    HeadConfig,
    ImageTowerConfig,
    LastPoolConfig,
    ModelConfig,
    SimilarityHeadConfig,
    SoftmaxAttentionConfig,
)
from patchword.models.convert.clip import statistics, text_entries, text_tower, tower_entries
from patchword.models.convert.defaults import completed_part
from patchword.models.convert.keymap import Entry, linear
from patchword.models.convert.quirks import Asked
from patchword.models.convert.settings import Settings
from patchword.models.convert.two_towers import TwoTowersLayout
from patchword.models.convert.vit import image_tower, patch_map

_POOL = "heads.image.pool"


class SiglipLayout(TwoTowersLayout):
    """A text is read off at its last token; theirs are all as long as the longest, without a mask."""

    name = "siglip"
    model_types = ("siglip",)
    model, processor = "SiglipModel", "SiglipImageProcessor"

    def config(self, settings: Settings, weights: Mapping[str, Tensor]) -> ModelConfig:
        """Two towers, two embedding heads, and one that compares them where there is its temperature."""
        vision = completed_part(settings, "vision_config", "siglip_vision_model", self.name)
        vision.refuse(vision_use_head=True)
        image = siglip_image(vision, settings)
        words = completed_part(settings, "text_config", "siglip_text_model", self.name)
        text = text_tower(words, causal=False)
        pool = AttentionPoolConfig(num_heads=vision.number("num_attention_heads"), ffn=image.ffn, norm=image.norm)
        width = words.number("projection_size", text.dim)
        made: dict[str, HeadConfig] = {
            "image": EmbeddingHeadConfig(source="image", out_dim=None, pool=pool),
            "text": EmbeddingHeadConfig(source="text", out_dim=width, bias=True, pool=LastPoolConfig()),
        }
        if "logit_scale" in weights:
            made["similarity"] = SimilarityHeadConfig(temperature=0.1, max_scale=None, bias=-10.0)
        return ModelConfig(towers={"image": image, "text": text}, heads=made)

    def entries(self, config: ModelConfig, settings: Settings) -> Iterator[Entry]:
        """The key map."""
        image = cast(ImageTowerConfig, config.towers["image"])
        yield from patch_map("vision_model.embeddings.patch_embedding", image)
        yield from tower_entries("vision_model", "towers.image", image.depth, "post_layernorm")
        yield from text_entries(config)
        yield from linear("text_model.head", "heads.text.proj")
        if "similarity" in config.heads:
            yield Entry(("logit_scale",), ("heads.similarity.log_scale",))
            yield Entry(("logit_bias",), ("heads.similarity.bias",))
        theirs = "vision_model.head"
        packed = (f"{theirs}.probe", f"{theirs}.attention.in_proj_weight", f"{theirs}.attention.in_proj_bias")
        maps = [f"{_POOL}.look.{name}_proj" for name in "kv"]
        parts = (f"{_POOL}.look.queries", *(f"{m}.weight" for m in maps), *(f"{m}.bias" for m in maps))
        yield Entry(packed, parts, Asked())
        yield from linear(f"{theirs}.attention.out_proj", f"{_POOL}.out_proj")
        yield from linear(f"{theirs}.layernorm", f"{_POOL}.ffn.norm")
        yield from linear(f"{theirs}.mlp.fc1", f"{_POOL}.ffn.step.up_proj")
        yield from linear(f"{theirs}.mlp.fc2", f"{_POOL}.ffn.step.down_proj")

    def widths(self, image: EmbeddingHeadConfig, text: EmbeddingHeadConfig) -> dict[str, dict[str, Any]]:
        """A picture's vector is as wide as its tower; a text's has a map to that width."""
        return {"text_config": {"projection_size": text.out_dim}}


def siglip_image(vision: Settings, whole: Settings) -> ImageTowerConfig:
    """The picture's tower that a complete `vision_config` describes, and the whole file's statistics of pictures."""
    return image_tower(Settings({**vision.data, **statistics(whole)}, vision.source)).replace(
        attention=SoftmaxAttentionConfig(num_heads=vision.number("num_attention_heads")), cls_token=False
    )
