"""PaliGemma in Hugging Face's layout (`PaliGemmaForConditionalGeneration`): SigLIP's picture tower, a map, Gemma."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

from torch import Tensor

from patchword.config import (
    ImageTowerConfig,
    LanguageHeadConfig,
    ModelConfig,
    PrefixFusionConfig,
    SoftmaxAttentionConfig,
)
from patchword.models.convert.clip import statistics
from patchword.models.convert.gpt2 import head_map, tied_names_of
from patchword.models.convert.keymap import Entry, linear
from patchword.models.convert.layout import Layout
from patchword.models.convert.llama import KINDS, decoder, stack_entries
from patchword.models.convert.llava import (
    DECODER,
    IGNORED,
    IMAGE,
    RENAMES,
    VISION,
    sharing,
    table_name,
    table_of,
    trunk_of,
    vision_entries,
    with_defaults,
)
from patchword.models.convert.quirks import FromOne
from patchword.models.convert.settings import Settings
from patchword.models.convert.vit import image_tower

_GEMMA = {
    "hidden_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "head_dim": 256,
    "intermediate_size": 24_576,
    "vocab_size": 256_000,
    "max_position_embeddings": 8192,
    "hidden_act": "gelu_pytorch_tanh",
}
_TANH = ("gelu", "gelu_pytorch_tanh")  # Gemma's first files say gelu where it means the other


class PaliGemmaLayout(Layout):
    """`question` reads `<bos>` and the prompt without its last token; `text` begins with that one and goes on."""

    name = "paligemma"
    model_types = ("paligemma",)
    renames = RENAMES
    ignored = IGNORED
    left_out = ((r"vision_tower\.head\..*", "the pooling of the picture's tower, which nothing reads"),)

    def config(self, settings: Settings, weights: Mapping[str, Tensor]) -> ModelConfig:
        """The picture's tower, two text towers with one table, and a trunk that sees all but the answer both ways."""
        words = _gemma(settings.part("text_config"))
        text = decoder(words, KINDS["llama"])
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

    def ignores(self, config: ModelConfig) -> tuple[str, ...]:
        """The head's map where it is the table."""
        return tied_names_of(config)


def _gemma(facts: Settings) -> Settings:
    """The decoder's settings, of the first Gemma alone: the second has norms and caps of its own."""
    facts.refuse(
        model_type="gemma",
        use_bidirectional_attention=True,
        hidden_act=_TANH,
        hidden_activation=_TANH,
        final_logit_softcapping=(),
        sliding_window=(),
    )
    words = with_defaults(facts, _GEMMA)
    return Settings({**words.data, "hidden_act": "gelu_pytorch_tanh"}, facts.source)


def _image(settings: Settings) -> ImageTowerConfig:
    """SigLIP's tower with its last norm."""
    facts = settings.part("vision_config")
    facts.refuse(model_type="siglip_vision_model")
    vision = Settings({**facts.data, **statistics(settings)}, facts.source)
    return image_tower(vision, eps=1e-6, activation="gelu_pytorch_tanh").replace(
        attention=SoftmaxAttentionConfig(num_heads=vision.number("num_attention_heads", 12)), cls_token=False
    )
