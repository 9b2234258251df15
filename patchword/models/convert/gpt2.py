"""GPT-2 in Hugging Face's layout (`GPT2Model`, `GPT2LMHeadModel`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from torch import Tensor

from patchword.config import (
    LanguageHeadConfig,
    LayerNormConfig,
    LearnedPositionConfig,
    ModelConfig,
    SoftmaxAttentionConfig,
    StandardFeedForwardConfig,
    TextTowerConfig,
)
from patchword.models.convert.defaults import completed
from patchword.models.convert.keymap import Entry, linear, packed
from patchword.models.convert.layout import Layout
from patchword.models.convert.settings import Settings, their_activation
from patchword.models.convert.transforms import Chain, Scaled, Split, Turned

TEXT = "towers.text"
_TURNED = {
    "attn.c_proj": "self_attn.step.out_proj",
    "mlp.c_fc": "ffn.step.up_proj",
    "mlp.c_proj": "ffn.step.down_proj",
}
QKV = tuple(f"self_attn.step.{name}_proj" for name in "qkv")


class GPT2Layout(Layout):
    """Its maps are stored input by output, and queries, keys and values are one."""

    name = "gpt2"
    model_types = ("gpt2",)
    writes = True
    renames = ((r"^(?!transformer\.|lm_head\.)", "transformer."),)
    ignored = (r"transformer\.h\.\d+\.attn\.(bias|masked_bias)",)

    def config(self, settings: Settings, weights: Mapping[str, Tensor]) -> ModelConfig:
        """A causal text tower, and its table as the map to scores."""
        settings.refuse(add_cross_attention=False)
        settings = completed(settings, "gpt2")
        dim = settings.number("n_embd")
        text = TextTowerConfig(
            dim=dim,
            depth=settings.number("n_layer"),
            vocab_size=settings.number("vocab_size"),
            max_len=settings.number("n_positions"),
            position=LearnedPositionConfig(),
            attention=SoftmaxAttentionConfig(
                num_heads=settings.number("n_head"),
                causal=True,
                scale=None if settings.flag("scale_attn_weights", True) else 1.0,
            ),
            ffn=StandardFeedForwardConfig(
                hidden_dim=settings.number("n_inner", 4 * dim),
                activation=settings.activation("activation_function"),
            ),
            norm=LayerNormConfig(eps=settings.real("layer_norm_epsilon")),
        )
        tied = settings.flag("tie_word_embeddings", True)
        return ModelConfig(towers={"text": text}, heads={"text": LanguageHeadConfig(source="text", tied=tied)})

    def entries(self, config: ModelConfig, settings: Settings) -> Iterator[Entry]:
        """The key map."""
        yield Entry(("transformer.wte.weight",), (f"{TEXT}.embedding.table.weight",))
        yield Entry(("transformer.wpe.weight",), (f"{TEXT}.stack.position.table.weight",))
        slower = settings.flag("scale_attn_by_inverse_layer_idx", False)
        for i in range(config.towers["text"].depth):
            theirs, ours = f"transformer.h.{i}", f"{TEXT}.stack.blocks.{i}"
            yield from linear(f"{theirs}.ln_1", f"{ours}.self_attn.norm")
            yield from linear(f"{theirs}.ln_2", f"{ours}.ffn.norm")
            share = Scaled(1 / (i + 1), 1, 1) if slower else Scaled(1, 1, 1)
            split = Chain(Turned(), Split(3), share)
            yield from packed(f"{theirs}.attn.c_attn", [f"{ours}.{name}" for name in QKV], split)
            for their_name, our_name in _TURNED.items():
                yield from linear(f"{theirs}.{their_name}", f"{ours}.{our_name}", Turned())
        yield from linear("transformer.ln_f", f"{TEXT}.stack.norm")
        yield from head_map(config)

    def settings(self, config: ModelConfig) -> dict[str, dict[str, Any]]:
        """`config.json`."""
        text, head = cast(TextTowerConfig, config.towers["text"]), cast(LanguageHeadConfig, config.heads["text"])
        ffn, norm = cast(StandardFeedForwardConfig, text.ffn), cast(LayerNormConfig, text.norm)
        assert text.attention is not None
        data = {
            "model_type": "gpt2",
            "architectures": ["GPT2LMHeadModel"],
            "vocab_size": text.vocab_size,
            "n_positions": text.max_len,
            "n_embd": text.dim,
            "n_layer": text.depth,
            "n_head": text.attention.num_heads,
            "n_inner": ffn.hidden_dim,
            "activation_function": their_activation(ffn.activation),
            "layer_norm_epsilon": norm.eps,
            "scale_attn_weights": text.attention.scale is None,
            "tie_word_embeddings": head.tied,
        }
        return {"config.json": data}

    def ignores(self, config: ModelConfig) -> tuple[str, ...]:
        """The head's map where it is the table."""
        return tied_names_of(config)


def head_map(config: ModelConfig, theirs: str = "lm_head", ours: str = "heads.text.proj") -> Iterator[Entry]:
    """The map to scores, where it is not a table."""
    head = cast(LanguageHeadConfig, config.heads["text"])
    if not head.tied:
        yield from linear(theirs, ours, bias=head.bias)


def tied_names_of(config: ModelConfig, theirs: str = "lm_head") -> tuple[str, ...]:
    """The name under which a table stands a second time as the map to scores."""
    return (rf"{theirs}\.weight",) if cast(LanguageHeadConfig, config.heads["text"]).tied else ()
