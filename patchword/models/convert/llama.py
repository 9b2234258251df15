"""Llama and the decoders of its kind in Hugging Face's layout: rotary, RMSNorm, gated feed-forwards, grouped heads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from torch import Tensor

from patchword.config import (
    LanguageHeadConfig,
    ModelConfig,
    RMSNormConfig,
    RotaryPositionConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    TextTowerConfig,
    UserError,
)
from patchword.models.convert.defaults import completed
from patchword.models.convert.feed_forwards import activation_of, gated
from patchword.models.convert.gpt2 import head_map, tied_names_of
from patchword.models.convert.keymap import Entry, linear
from patchword.models.convert.layout import Layout
from patchword.models.convert.parts import of_kind, part_of
from patchword.models.convert.rotary import rotary, their_rotary
from patchword.models.convert.settings import Settings
from patchword.models.convert.transforms import SAME, Transform

TEXT = "towers.text"
_BIASED = ("q_proj", "k_proj", "v_proj")
_GATED = ("gate_proj", "up_proj", "down_proj")


class Kind(NamedTuple):
    """What one of these models has that plain Llama lacks."""

    architecture: str
    """The beginning of its class's name."""
    writes: tuple[str, ...]
    """Settings that it knows beside those of all."""
    has: Callable[[SoftmaxAttentionConfig], bool]
    """Whether an attention needs it."""
    biased: bool = False
    """Whether queries, keys and values always have offsets; else `attention_bias` says so, of the last map, too."""
    windowed: bool = False
    """Whether tokens see only so far back."""
    normed: bool = False
    """Whether queries and keys are normalised."""


KINDS = {
    "qwen3": Kind("Qwen3", ("attention_bias",), lambda own: own.qk_norm is not None, normed=True),
    "mistral": Kind("Mistral", ("sliding_window",), lambda own: own.window is not None, windowed=True),
    "qwen2": Kind("Qwen2", (), lambda own: own.bias and not own.out_bias, biased=True),
    "llama": Kind("Llama", ("attention_bias", "mlp_bias"), lambda _: True),
}
"""By `model_type`; the first whose speciality an attention has is written."""


class LlamaLayout(Layout):
    """Llama, Mistral (a window), Qwen2 (offsets of queries, keys and values) and Qwen3 (norms of queries and keys)."""

    name = "llama"
    model_types = tuple(sorted(KINDS))
    writes = True
    renames = ((r"^(?!model\.|lm_head\.)", "model."),)
    ignored = (r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq", r"model\.rotary_emb\.inv_freq")

    def config(self, settings: Settings, weights: Mapping[str, Tensor]) -> ModelConfig:
        """A causal text tower with rotary positions."""
        text = decoder(settings)
        tied = settings.flag("tie_word_embeddings", False)
        return ModelConfig(towers={"text": text}, heads={"text": LanguageHeadConfig(source="text", tied=tied)})

    def entries(self, config: ModelConfig, settings: Settings) -> Iterator[Entry]:
        """The key map; theirs and ours differ in names alone."""
        yield Entry(("model.embed_tokens.weight",), (f"{TEXT}.embedding.table.weight",))
        yield from stack_entries("model", f"{TEXT}.stack", config.towers["text"])
        yield from head_map(config)

    def ignores(self, config: ModelConfig) -> tuple[str, ...]:
        """The head's map where it is the table."""
        return tied_names_of(config)

    def settings(self, config: ModelConfig) -> dict[str, dict[str, Any]]:
        """`config.json`, as the plainest of these models that has what it takes."""
        text = part_of(config.towers, "towers", "text", TextTowerConfig)
        head = part_of(config.heads, "heads", "text", LanguageHeadConfig)
        own = decoder_settings(text, "towers.text")
        data: dict[str, Any] = {
            "architectures": [f"{KINDS[own['model_type']].architecture}ForCausalLM"],
            "vocab_size": text.vocab_size,
            "max_position_embeddings": text.max_len,
            "tie_word_embeddings": head.tied,
        }
        return {"config.json": own | data}


def decoder_settings(stack: StackConfig, path: str) -> dict[str, Any]:
    """Their settings of a causal stack, as of the plainest of these models that has what it takes.

    Raises:
        UserError: it has parts of other kinds.
    """
    own = of_kind(stack.attention, f"{path}.attention", SoftmaxAttentionConfig)
    return blocks_settings(stack, path, *next((name, kind) for name, kind in KINDS.items() if kind.has(own)))


def blocks_settings(stack: StackConfig, path: str, model_type: str, kind: Kind) -> dict[str, Any]:
    """The same, as of a model of that kind."""
    own = of_kind(stack.attention, f"{path}.attention", SoftmaxAttentionConfig)
    position = of_kind(stack.position, f"{path}.position", RotaryPositionConfig)
    if stack.ffn is None:
        raise UserError(f"{path}.ffn is null, and has to be there")
    special = {"attention_bias": own.bias, "mlp_bias": stack.ffn.bias, "sliding_window": own.window}
    return {
        "model_type": model_type,
        "hidden_size": stack.dim,
        "intermediate_size": stack.ffn.hidden_dim or -(-8 * stack.dim // 3 // 8) * 8,
        "num_hidden_layers": stack.depth,
        "num_attention_heads": own.num_heads,
        "num_key_value_heads": own.num_kv_heads or own.num_heads,
        "head_dim": own.width(stack.dim),
        "hidden_act": activation_of(stack.ffn),
        "rms_norm_eps": of_kind(stack.norm, f"{path}.norm", RMSNormConfig).eps,
        "rope_parameters": their_rotary(position),
        **{name: special[name] for name in kind.writes},
    }


def decoder(settings: Settings) -> TextTowerConfig:
    """The causal text tower that the settings of one of these models describe.

    Raises:
        UserError: it is none of them, or has a setting that cannot be expressed exactly.
    """
    facts = completed_decoder(settings)
    return decoder_of(facts, KINDS[facts.data["model_type"]])


def completed_decoder(settings: Settings) -> Settings:
    """Settings of one of these models, with what its own class takes where they say nothing.

    Raises:
        UserError: it is none of them.
    """
    settings.refuse(model_type=tuple(KINDS))
    name = settings.data.get("model_type", "llama")
    return completed(Settings({"model_type": name, **settings.data}, settings.source), name)


def decoder_of(settings: Settings, kind: Kind) -> TextTowerConfig:
    """The same of complete settings, of a model of that kind.

    Raises:
        UserError: a setting that cannot be expressed exactly.
    """
    settings.refuse(use_sliding_window=False)
    if set(settings.data.get("layer_types") or ()) - {"full_attention"}:
        raise UserError(f"{settings.source}: layer_types of several kinds have no counterpart here")
    dim, eps = settings.number("hidden_size"), settings.real("rms_norm_eps")
    heads = settings.number("num_attention_heads")
    biased = kind.biased or settings.flag("attention_bias", False)
    window = settings.number("sliding_window") if kind.windowed and "sliding_window" in settings else None
    return TextTowerConfig(
        dim=dim,
        depth=settings.number("num_hidden_layers"),
        vocab_size=settings.number("vocab_size"),
        max_len=settings.number("max_position_embeddings"),
        position=rotary(settings),
        attention=SoftmaxAttentionConfig(
            num_heads=heads,
            num_kv_heads=settings.number("num_key_value_heads", heads),
            head_dim=settings.number("head_dim", dim // heads),
            causal=True,
            window=window,
            qk_norm=RMSNormConfig(eps=eps) if kind.normed else None,
            bias=biased,
            out_bias=biased and not kind.biased,
        ),
        ffn=gated(
            settings.activation("hidden_act"),
            settings.number("intermediate_size"),
            settings.flag("mlp_bias", False),
        ),
        norm=RMSNormConfig(eps=eps),
    )


def stack_entries(theirs: str, ours: str, stack: StackConfig, gain: Transform = SAME) -> Iterator[Entry]:
    """Blocks and the last norm; `gain` is what happens to the weights of norms."""
    own, ffn = stack.attention, stack.ffn
    assert own is not None
    assert ffn is not None
    for i in range(stack.depth):
        their_block, block = f"{theirs}.layers.{i}", f"{ours}.blocks.{i}"
        step, theirs_own = f"{block}.self_attn.step", f"{their_block}.self_attn"
        yield from linear(f"{their_block}.input_layernorm", f"{block}.self_attn.norm", gain, bias=False)
        yield from linear(f"{their_block}.post_attention_layernorm", f"{block}.ffn.norm", gain, bias=False)
        for name in _BIASED:
            yield from linear(f"{theirs_own}.{name}", f"{step}.{name}", bias=own.bias)
        yield from linear(f"{theirs_own}.o_proj", f"{step}.out_proj", bias=own.out_bias)
        if own.qk_norm is not None:
            for name in ("q_norm", "k_norm"):
                yield from linear(f"{theirs_own}.{name}", f"{step}.{name}", gain, bias=False)
        for name in _GATED:
            yield from linear(f"{their_block}.mlp.{name}", f"{block}.ffn.step.{name}", bias=ffn.bias)
    yield from linear(f"{theirs}.norm", f"{ours}.norm", gain, bias=False)
