"""CLIP in Hugging Face's layout (`CLIPModel`): two towers, each with a map to one space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
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
from patchword.models.convert.defaults import completed, completed_part
from patchword.models.convert.keymap import Entry, linear, linears
from patchword.models.convert.layout import Written
from patchword.models.convert.parts import SPECIALS
from patchword.models.convert.settings import Settings
from patchword.models.convert.transforms import Alone
from patchword.models.convert.two_towers import TwoTowersLayout, tokens_of
from patchword.models.convert.vit import image_tower, patch_map

_TABLE = "towers.text.embedding.table.weight"
_EOS = SPECIALS["eos_token_id"]
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
        width = completed(settings, "clip").number("projection_dim")
        image = clip_image(_part(settings, "vision_config", "clip_vision_model"), settings)
        text = text_tower(_part(settings, "text_config", "clip_text_model"), causal=True)
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
        return tokens_of(_part(settings, "text_config", "clip_text_model"))

    def write(
        self, config: ModelConfig, weights: Mapping[str, Tensor], kept: Mapping[str, Any] | None = None
    ) -> Written:
        """As any; where it was not read in this layout, the end of a text changes places with the last entry.

        Texts of ours end with id 2. Theirs takes the first token with `eos_token_id`, but the one with the highest id
        where that is 2, as all programs before it do. As the highest, both rules find the end.

        Raises:
            UserError: it cannot be expressed there.
        """
        table = weights.get(_TABLE)
        if kept is not None or table is None:
            return super().write(config, weights, kept)
        last = len(table) - 1
        if last < _EOS:
            raise UserError(f"this model cannot be written in the layout clip: a vocabulary of {last + 1} has no end")
        ids = {"text_config": SPECIALS | {"eos_token_id": last}}
        written = super().write(config, dict(weights) | {_TABLE: exchanged(table, _EOS, last)}, ids)
        return written._replace(renumbered={_EOS: last, last: _EOS})


def exchanged(table: Tensor, one: int, other: int) -> Tensor:
    """A table with two rows in each other's place."""
    order = torch.arange(len(table), device=table.device)
    order[one], order[other] = other, one
    return table[order]


def _part(settings: Settings, name: str, model_type: str) -> Settings:
    """One tower's settings: those of OpenAI's files stand in `text_config_dict` and `vision_config_dict`, which win."""
    older = f"{name}_dict"
    return completed_part(settings, older if older in settings else name, model_type, "clip")


def clip_image(vision: Settings, whole: Settings) -> ImageTowerConfig:
    """The picture's tower that a complete `vision_config` describes, and the whole file's statistics of pictures."""
    return image_tower(Settings({**vision.data, **statistics(whole)}, vision.source)).replace(
        attention=SoftmaxAttentionConfig(num_heads=vision.number("num_attention_heads")),
        patch_bias=False,
        entry_norm=True,
    )


def text_tower(settings: Settings, causal: bool) -> TextTowerConfig:
    """The text tower that their complete `text_config` describes."""
    return TextTowerConfig(
        dim=settings.number("hidden_size"),
        depth=settings.number("num_hidden_layers"),
        vocab_size=settings.number("vocab_size"),
        max_len=settings.number("max_position_embeddings"),
        position=LearnedPositionConfig(),
        attention=SoftmaxAttentionConfig(num_heads=settings.number("num_attention_heads"), causal=causal),
        ffn=StandardFeedForwardConfig(
            hidden_dim=settings.number("intermediate_size"), activation=settings.activation("hidden_act")
        ),
        norm=LayerNormConfig(eps=settings.real("layer_norm_eps")),
    )


def text_entries(config: ModelConfig) -> Iterator[Entry]:
    """The text tower's key map."""
    yield Entry(("text_model.embeddings.token_embedding.weight",), (_TABLE,))
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
