"""LLaVA in Hugging Face's layout (`LlavaForConditionalGeneration`): CLIP's picture tower, a map, a causal decoder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor

from patchword.config import (
    ImageTowerConfig,
    JointFusionConfig,
    LanguageHeadConfig,
    ModelConfig,
    StackConfig,
    TextTowerConfig,
    UserError,
)
from patchword.models.convert.clip import clip_image
from patchword.models.convert.defaults import completed, completed_part
from patchword.models.convert.gpt2 import head_map
from patchword.models.convert.keymap import Entry, Weights, linear
from patchword.models.convert.llama import completed_decoder, decoder, decoder_settings, stack_entries
from patchword.models.convert.pictured import (
    DECODER,
    IMAGE,
    VISION,
    PicturedLayout,
    sharing,
    table_name,
    table_of,
    trunk_of,
    vision_entries,
)
from patchword.models.convert.settings import Settings

_STATISTICS = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
}
"""Of pictures, where there is no `preprocessor_config.json`: CLIP's."""


class LlavaLayout(PicturedLayout):
    """The picture's tokens stand where `<image>` does: text before it is the tower `before`, what follows is `text`."""

    name = "llava"
    model_types = ("llava",)
    towers = ("before", "image", "text")
    model, processor = "LlavaForConditionalGeneration", "CLIPImageProcessor"
    left_out = (
        (r"vision_tower\.encoder\.layers\..*", "blocks of the picture's tower after the one whose tokens are read"),
        (r"vision_tower\.post_layernorm\..*", "the last norm of the picture's tower, before which tokens are read"),
    )

    def config(self, settings: Settings, weights: Mapping[str, Tensor]) -> ModelConfig:
        """Two text towers with one table, the picture's tower, and a trunk that reads all in turn."""
        settings.refuse(multimodal_projector_bias=True, projector_hidden_act="gelu")
        words = self.words(settings)
        text = decoder(words)
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

    def words(self, settings: Settings) -> Settings:
        """The decoder's settings, with what its own class takes where they say nothing."""
        return completed_decoder(settings.part("text_config"))

    def idle(self, config: ModelConfig, weights: Mapping[str, Tensor]) -> Weights:
        """The last norm of the picture's tower: its tokens are read before it."""
        like = weights[f"{IMAGE}.stack.entry_norm.weight"]
        norm = f"{VISION}.post_layernorm"
        return {f"{norm}.weight": torch.ones_like(like), f"{norm}.bias": torch.zeros_like(like)}

    def described(self, image: ImageTowerConfig, text: TextTowerConfig, trunk: StackConfig) -> dict[str, Any]:
        """Tokens are read after the last block that there is.

        Raises:
            UserError: there is none.
        """
        if not image.depth:
            raise UserError("towers.image.depth is 0: theirs has a block at least")
        rows, columns = image.grid
        return {
            "image_seq_length": rows * columns + image.gives_cls,
            "multimodal_projector_bias": True,
            "projector_hidden_act": "gelu",
            "vision_feature_layer": -1,
            "vision_feature_select_strategy": "full" if image.gives_cls else "default",
            "text_config": decoder_settings(trunk, "trunk"),
            "vision_config": {"model_type": "clip_vision_model"},
        }

    def placeholder(self, text: TextTowerConfig) -> tuple[int, str]:
        """Padding, which no text of ours holds: theirs looks its placeholder up in the table, so it has to be there."""
        return 0, "`<image>` is id 0, which is `<pad>` to patchword's tokenizers: fill texts up with another, such as 2"


def _image(settings: Settings) -> ImageTowerConfig:
    """CLIP's tower up to the block whose tokens are read, without its last norm."""
    settings.part("vision_config").refuse(model_type="clip_vision_model")
    settings.refuse(vision_feature_select_strategy=("default", "full"))
    vision = completed_part(settings, "vision_config", "clip_vision_model", "llava")
    image = clip_image(vision, Settings({**_STATISTICS, **settings.data}, settings.source))
    return image.replace(
        depth=_blocks(completed(settings, "llava"), image.depth),
        final_norm=False,
        gives_cls=settings.data.get("vision_feature_select_strategy") == "full",
    )


def _blocks(settings: Settings, depth: int) -> int:
    """How many blocks come before the tokens that are read: `vision_feature_layer`, counted from either end."""
    layer = settings.data["vision_feature_layer"]
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
