"""CLIP in Hugging Face's layout (`CLIPModel`): two towers, each with a map to one space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from torch import Tensor

from patchword.config import (
    EmbeddingHeadConfig,
    FirstPoolConfig,
    HeadConfig,
    ImageTowerConfig,
    LastPoolConfig,
    LayerNormConfig,
    LearnedPositionConfig,
    ModelConfig,
    SimilarityHeadConfig,
    SoftmaxAttentionConfig,
    StandardFeedForwardConfig,
    TextTowerConfig,
    UserError,
)
from patchword.models.convert.keymap import Entry, linear, linears
from patchword.models.convert.layout import Written
from patchword.models.convert.settings import Settings
from patchword.models.convert.transforms import Alone
from patchword.models.convert.two_towers import TwoTowersLayout
from patchword.models.convert.vit import image_tower, patch_map

CLIP_BLOCK = {
    "self_attn.q_proj": "self_attn.step.q_proj",
    "self_attn.k_proj": "self_attn.step.k_proj",
    "self_attn.v_proj": "self_attn.step.v_proj",
    "self_attn.out_proj": "self_attn.step.out_proj",
    "layer_norm1": "self_attn.norm",
    "mlp.fc1": "ffn.step.up_proj",
    "mlp.fc2": "ffn.step.down_proj",
    "layer_norm2": "ffn.norm",
}


class CLIPLayout(TwoTowersLayout):
    """A text is read off at its last real token: the end-of-text token, where `valid` ends with it."""

    name = "clip"
    model_types = ("clip",)
    model, processor = "CLIPModel", "CLIPImageProcessor"

    def config(self, settings: Settings, weights: Mapping[str, Tensor]) -> ModelConfig:
        """Two towers, two embedding heads, and one that compares them where there is its temperature."""
        width = settings.number("projection_dim", 512)
        vision = Settings({**settings.part("vision_config").data, **statistics(settings)}, settings.source)
        image = image_tower(vision, eps=1e-5, activation="quick_gelu").replace(
            attention=SoftmaxAttentionConfig(num_heads=vision.number("num_attention_heads", 12)),
            patch_bias=False,
            entry_norm=True,
        )
        text = text_tower(settings.part("text_config"), eps=1e-5, activation="quick_gelu", causal=True)
        heads: dict[str, HeadConfig] = {
            "image": EmbeddingHeadConfig(source="image", out_dim=width, pool=FirstPoolConfig()),
            "text": EmbeddingHeadConfig(source="text", out_dim=width, pool=LastPoolConfig()),
        }
        if "logit_scale" in weights:
            heads["similarity"] = SimilarityHeadConfig()
        return ModelConfig(towers={"image": image, "text": text}, heads=heads)

    def entries(self, config: ModelConfig, settings: Settings) -> Iterator[Entry]:
        """The key map; `pre_layrnorm` is their spelling."""
        image = cast(ImageTowerConfig, config.towers["image"])
        yield Entry(("vision_model.embeddings.class_embedding",), ("towers.image.embedding.cls",))
        yield from patch_map("vision_model.embeddings.patch_embedding", image)
        yield from linear("vision_model.pre_layrnorm", "towers.image.stack.entry_norm")
        yield from tower_entries("vision_model", "towers.image", image.depth, "post_layernorm")
        yield from text_entries(config)
        yield from linear("visual_projection", "heads.image.proj", bias=False)
        yield from linear("text_projection", "heads.text.proj", bias=False)
        if "similarity" in config.heads:
            yield Entry(("logit_scale",), ("heads.similarity.log_scale",), Alone())

    def widths(self, image: EmbeddingHeadConfig, text: EmbeddingHeadConfig) -> dict[str, dict[str, Any]]:
        """One width, which each tower's own class reads in its part."""
        own = {"projection_dim": image.out_dim}
        return {"": own, "text_config": own, "vision_config": own}

    def kept(self, settings: Settings) -> dict[str, Any]:
        """Also the token that ends a text where the file does not say: theirs finds the end by it."""
        return {"text_config": {"eos_token_id": 49_407} | super().kept(settings)["text_config"]}

    def write(
        self, config: ModelConfig, weights: Mapping[str, Tensor], kept: Mapping[str, Any] | None = None
    ) -> Written:
        """As any, but not without knowing the end of a text."""
        written = super().write(config, weights, kept)
        if "eos_token_id" not in written.files["config.json"]["text_config"]:
            raise UserError(
                "this model cannot be written in the layout clip: theirs finds the end of a text by its eos_token_id, "
                "which is known only where the model was read from that layout. Texts of a run end with id 2, and "
                "theirs takes eos_token_id 2 for the highest id of a text"
            )
        return written


def text_tower(settings: Settings, eps: float, activation: str, causal: bool) -> TextTowerConfig:
    """The text tower that their `text_config` describes."""
    dim = settings.number("hidden_size", 512)
    return TextTowerConfig(
        dim=dim,
        depth=settings.number("num_hidden_layers", 12),
        vocab_size=settings.number("vocab_size", 49_408),
        max_len=settings.number("max_position_embeddings", 77),
        position=LearnedPositionConfig(),
        attention=SoftmaxAttentionConfig(num_heads=settings.number("num_attention_heads", 8), causal=causal),
        ffn=StandardFeedForwardConfig(
            hidden_dim=settings.number("intermediate_size", 4 * dim),
            activation=settings.activation("hidden_act", activation),
        ),
        norm=LayerNormConfig(eps=settings.real("layer_norm_eps", eps)),
    )


def text_entries(config: ModelConfig) -> Iterator[Entry]:
    """The text tower's key map."""
    table = "towers.text.embedding.table.weight"
    yield Entry(("text_model.embeddings.token_embedding.weight",), (table,))
    yield from tower_entries("text_model", "towers.text", config.towers["text"].depth, "final_layer_norm")


def tower_entries(theirs: str, ours: str, depth: int, last: str) -> Iterator[Entry]:
    """Places, blocks and the last norm of either tower."""
    yield from linear(f"{theirs}.embeddings.position_embedding", f"{ours}.stack.position.table", bias=False)
    for i in range(depth):
        yield from linears(CLIP_BLOCK, f"{theirs}.encoder.layers.{i}", f"{ours}.stack.blocks.{i}")
    yield from linear(f"{theirs}.{last}", f"{ours}.stack.norm")


def statistics(settings: Settings) -> dict[str, object]:
    """What `preprocessor_config.json` says of pixels, where it was read."""
    return {name: settings.data[name] for name in ("image_mean", "image_std") if name in settings.data}
