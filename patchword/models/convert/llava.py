"""LLaVA in Hugging Face's layout (`LlavaForConditionalGeneration`): CLIP's picture tower, a map, a causal decoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

from torch import Tensor

from patchword.config import (
    ImageTowerConfig,
    JointFusionConfig,
    LanguageHeadConfig,
    ModelConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    TextTowerConfig,
    UserError,
)
from patchword.models.convert.clip import CLIP_BLOCK, statistics
from patchword.models.convert.gpt2 import head_map, tied_names_of
from patchword.models.convert.keymap import Entry, linear, linears
from patchword.models.convert.layout import Layout
from patchword.models.convert.llama import decoder, kind_of, stack_entries
from patchword.models.convert.settings import Settings
from patchword.models.convert.vit import image_tower, patch_map

VISION, DECODER, IMAGE = "vision_tower", "language_model", "towers.image"
RENAMES = (
    (r"^model\.", ""),
    (r"^language_model\.lm_head\.", "lm_head."),
    (r"^language_model\.model\.", "language_model."),
    (r"^vision_tower\.vision_model\.", "vision_tower."),
)
"""Names of transformers 4.x, of files, and of 5.x."""
IGNORED = (r"vision_tower\.embeddings\.position_ids", r"language_model\..*rotary_emb\.inv_freq")
_LLAMA = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "intermediate_size": 11_008,
    "vocab_size": 32_000,
    "max_position_embeddings": 2048,
}
_TEXT: dict[str, Mapping[str, object]] = {"llama": _LLAMA, "mistral": {"sliding_window": 4096}}
"""What files of these decoders leave out where it is what their program takes."""
_VISION = {
    "patch_size": 32,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}


class LlavaLayout(Layout):
    """The picture's tokens stand where `<image>` does: text before it is the tower `before`, what follows is `text`."""

    name = "llava"
    model_types = ("llava",)
    renames = RENAMES
    ignored = IGNORED
    left_out = (
        (r"vision_tower\.encoder\.layers\..*", "blocks of the picture's tower after the one whose tokens are read"),
        (r"vision_tower\.post_layernorm\..*", "the last norm of the picture's tower, before which tokens are read"),
    )

    def config(self, settings: Settings, weights: Mapping[str, Tensor]) -> ModelConfig:
        """Two text towers with one table, the picture's tower, and a trunk that reads all in turn."""
        settings.refuse(multimodal_projector_bias=True, projector_hidden_act="gelu")
        facts = settings.part("text_config")
        words = with_defaults(facts, _TEXT.get(facts.data.get("model_type", "llama"), {}))
        text = decoder(words, kind_of(words))
        tied = settings.flag("tie_word_embeddings", False) or words.flag("tie_word_embeddings", False)
        table = table_of(text)
        return ModelConfig(
            towers={"before": sharing(table), "image": _image(settings), "text": table},
            fusion=JointFusionConfig(projector="mlp", as_is=("before",)),
            trunk=trunk_of(text),
            heads={"text": LanguageHeadConfig(tied=tied)},
        )

    def entries(self, config: ModelConfig, settings: Settings) -> Iterator[Entry]:
        """The key map; `pre_layrnorm` is their spelling."""
        image, trunk = cast(ImageTowerConfig, config.towers["image"]), config.trunk
        assert trunk is not None
        yield Entry((f"{VISION}.embeddings.class_embedding",), (f"{IMAGE}.embedding.cls",))
        yield from linear(f"{VISION}.pre_layrnorm", f"{IMAGE}.stack.entry_norm")
        yield from vision_entries(image)
        yield from linear("multi_modal_projector.linear_1", "fusion.projectors.image.0")
        yield from linear("multi_modal_projector.linear_2", "fusion.projectors.image.2")
        yield Entry((f"{DECODER}.embed_tokens.weight",), (table_name("before"),))
        yield from stack_entries(DECODER, "trunk", trunk)
        yield from head_map(config)

    def ignores(self, config: ModelConfig) -> tuple[str, ...]:
        """The head's map where it is the table."""
        return tied_names_of(config)


def _image(settings: Settings) -> ImageTowerConfig:
    """CLIP's tower up to the block whose tokens are read, without its last norm."""
    facts = settings.part("vision_config")
    facts.refuse(model_type="clip_vision_model")
    vision = with_defaults(Settings({**facts.data, **statistics(settings)}, facts.source), _VISION)
    image = image_tower(vision, eps=1e-5, activation="quick_gelu")
    settings.refuse(vision_feature_select_strategy=("default", "full"))
    return image.replace(
        depth=_blocks(settings, image.depth),
        attention=SoftmaxAttentionConfig(num_heads=vision.number("num_attention_heads", 12)),
        patch_bias=False,
        entry_norm=True,
        final_norm=False,
        gives_cls=settings.data.get("vision_feature_select_strategy") == "full",
    )


def _blocks(settings: Settings, depth: int) -> int:
    """How many blocks come before the tokens that are read: `vision_feature_layer`, counted from either end."""
    layer = settings.data.get("vision_feature_layer", -2)
    if isinstance(layer, list | tuple) and len(layer) == 1:
        layer = layer[0]
    if not isinstance(layer, int) or isinstance(layer, bool):
        raise UserError(
            f"{settings.source}: vision_feature_layer {layer!r} has no counterpart here, only one layer's number has"
        )
    blocks = layer if layer >= 0 else depth + 1 + layer
    if not 0 <= blocks <= depth:
        raise UserError(
            f"{settings.source}: vision_feature_layer {layer} is none of {depth + 1}: {-depth - 1} to {depth}"
        )
    return blocks


# ------------------------------------------------------------------ what such models share


def with_defaults(settings: Settings, defaults: Mapping[str, object]) -> Settings:
    """The same with what their program takes where a file says nothing."""
    return Settings({**defaults, **settings.data}, settings.source)


def table_of(text: TextTowerConfig, scaled: bool = False) -> TextTowerConfig:
    """A decoder's table of words alone."""
    return TextTowerConfig(
        dim=text.dim,
        depth=0,
        vocab_size=text.vocab_size,
        max_len=text.max_len,
        embed_scale=scaled,
        attention=None,
        ffn=None,
    )


def sharing(table: TextTowerConfig) -> TextTowerConfig:
    """Another tower with the table of the tower `text`."""
    return table.replace(shares="text", vocab_size=None)


def table_name(first: str) -> str:
    """What that table is called in a model: by the first tower that has it."""
    return f"towers.{first}.embedding.table.weight"


def trunk_of(text: TextTowerConfig) -> StackConfig:
    """A decoder's blocks alone."""
    return StackConfig(
        dim=text.dim,
        depth=text.depth,
        position=text.position,
        attention=text.attention,
        ffn=text.ffn,
        norm=text.norm,
    )


def vision_entries(image: ImageTowerConfig) -> Iterator[Entry]:
    """Patches, places and blocks of CLIP's or SigLIP's picture tower."""
    yield from patch_map(f"{VISION}.embeddings.patch_embedding", image)
    yield from linear(f"{VISION}.embeddings.position_embedding", f"{IMAGE}.stack.position.table", bias=False)
    for i in range(image.depth):
        yield from linears(CLIP_BLOCK, f"{VISION}.encoder.layers.{i}", f"{IMAGE}.stack.blocks.{i}")
