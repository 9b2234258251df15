"""PaliGemma in Hugging Face's layout (`PaliGemmaForConditionalGeneration`): SigLIP's picture tower, a map, Gemma."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from torch import Tensor

from patchword.config import (
    ImageTowerConfig,
    LanguageHeadConfig,
    ModelConfig,
    PrefixFusionConfig,
    StackConfig,
    TextTowerConfig,
)
from patchword.models.convert.defaults import completed_part
from patchword.models.convert.gpt2 import head_map
from patchword.models.convert.keymap import Entry, linear
from patchword.models.convert.llama import Kind, blocks_settings, decoder_of, stack_entries
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
from patchword.models.convert.quirks import FromOne
from patchword.models.convert.settings import Settings
from patchword.models.convert.siglip import siglip_image

_KIND = Kind("Gemma", ("attention_bias",), lambda _: True)
_TANH = ("gelu", "gelu_pytorch_tanh")  # Gemma's first files say gelu where it means the other


class PaliGemmaLayout(PicturedLayout):
    """`question` reads `<bos>` and the prompt without its last token; `text` begins with that one and goes on."""

    name = "paligemma"
    model_types = ("paligemma",)
    towers = ("image", "question", "text")
    model, processor = "PaliGemmaForConditionalGeneration", "SiglipImageProcessor"
    left_out = ((r"vision_tower\.head\..*", "the pooling of the picture's tower, which nothing reads"),)

    def config(self, settings: Settings, weights: Mapping[str, Tensor]) -> ModelConfig:
        """The picture's tower, two text towers with one table, and a trunk that sees all but the answer both ways."""
        words = self.words(settings)
        text = decoder_of(words, _KIND)
        tied = settings.flag("tie_word_embeddings", True)
        words.refuse(tie_word_embeddings=tied)
        table = table_of(text, scaled=True)
        return ModelConfig(
            towers={"image": _image(settings), "question": sharing(table), "text": table},
            fusion=PrefixFusionConfig(projector="linear", as_is=("question",), opens=True),
            trunk=trunk_of(text),
            heads={"text": LanguageHeadConfig(tied=tied)},
        )

    def entries(self, config: ModelConfig, settings: Settings) -> Iterator[Entry]:
        """The key map."""
        assert config.trunk is not None
        yield from vision_entries(cast(ImageTowerConfig, config.towers["image"]))
        yield from linear(f"{VISION}.post_layernorm", f"{IMAGE}.stack.norm")
        yield from linear("multi_modal_projector.linear", "fusion.projectors.image")
        yield Entry((f"{DECODER}.embed_tokens.weight",), (table_name("question"),))
        yield from stack_entries(DECODER, "trunk", config.trunk, FromOne())
        yield from head_map(config)

    def words(self, settings: Settings) -> Settings:
        """The decoder's settings, of the first Gemma alone: the second has norms and caps of its own."""
        settings.part("text_config").refuse(
            model_type="gemma",
            use_bidirectional_attention=True,
            hidden_act=_TANH,
            hidden_activation=_TANH,
            final_logit_softcapping=(),
            sliding_window=(),
        )
        words = completed_part(settings, "text_config", "gemma", self.name)
        return Settings({**words.data, "hidden_act": "gelu_pytorch_tanh"}, words.source)

    def described(self, image: ImageTowerConfig, text: TextTowerConfig, trunk: StackConfig) -> dict[str, Any]:
        """The picture's tower without a pooling."""
        own = blocks_settings(trunk, "trunk", "gemma", _KIND)
        return {
            "hidden_size": trunk.dim,
            "projection_dim": trunk.dim,
            "vocab_size": text.vocab_size,
            "text_config": own | {"hidden_act": "gelu_pytorch_tanh", "use_bidirectional_attention": True},
            "vision_config": {"model_type": "siglip_vision_model", "vision_use_head": False},
        }

    def placeholder(self, text: TextTowerConfig) -> tuple[int, str]:
        """The first id that the table lacks: theirs looks no placeholder up in it."""
        token = text.vocab_size or 0
        return token, f"`<image>` is id {token}, the first beyond the vocabulary"


def _image(settings: Settings) -> ImageTowerConfig:
    """SigLIP's tower with its last norm."""
    settings.part("vision_config").refuse(model_type="siglip_vision_model")
    return siglip_image(completed_part(settings, "vision_config", "siglip_vision_model", "paligemma"), settings)
