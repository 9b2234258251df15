"""T5 in Hugging Face's layout (`T5ForConditionalGeneration`), 1.0 and 1.1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from torch import Tensor

from patchword.config import (
    CrossFusionConfig,
    FeedForwardConfig,
    LanguageHeadConfig,
    ModelConfig,
    NoPositionConfig,
    RelativeBiasPositionConfig,
    RMSNormConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    StandardFeedForwardConfig,
    TextTowerConfig,
    UserError,
)
from patchword.models.convert.defaults import completed
from patchword.models.convert.feed_forwards import activation_of, gated, is_gated
from patchword.models.convert.keymap import Entry, linear
from patchword.models.convert.layout import Layout
from patchword.models.convert.settings import Settings
from patchword.models.convert.transforms import SAME, Scaled

_MEANT = {"gated-gelu": "gated-gelu_new"}
"""What a word for a feed-forward has always meant: here the approximation with tanh."""
_PROJECTIONS = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "out_proj"}


class T5Layout(Layout):
    """Scores are not scaled (`attention.scale: 1`); what the decoder's output is multiplied by before a tied head is
    folded into the gain of its last norm."""

    name = "t5"
    model_types = ("t5",)
    writes = True
    ignored = (
        r"(encoder|decoder)\.embed_tokens\.weight",
        r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",
    )

    def config(self, settings: Settings, weights: Mapping[str, Tensor]) -> ModelConfig:
        """Two text towers with one table; the target's tokens look at the source's."""
        settings = completed(settings, "t5")
        dim, depth = settings.number("d_model"), settings.number("num_layers")
        attention = SoftmaxAttentionConfig(
            num_heads=settings.number("num_heads"),
            head_dim=settings.number("d_kv"),
            bias=False,
            out_bias=False,
            scale=1.0,
        )
        source = TextTowerConfig(
            dim=dim,
            depth=depth,
            vocab_size=settings.number("vocab_size"),
            max_len=settings.number("n_positions", 512),
            position=RelativeBiasPositionConfig(
                num_buckets=settings.number("relative_attention_num_buckets"),
                max_distance=settings.number("relative_attention_max_distance"),
            ),
            attention=attention,
            ffn=_feed_forward(settings),
            norm=RMSNormConfig(eps=settings.real("layer_norm_epsilon")),
        )
        target = source.replace(depth=0, position=NoPositionConfig(), shares="source")
        trunk = StackConfig(
            dim=dim,
            depth=settings.number("num_decoder_layers", depth),
            position=source.position,
            attention=attention.replace(causal=True),
            cross_attention=attention,
            ffn=source.ffn,
            norm=source.norm,
        )
        return ModelConfig(
            towers={"source": source, "target": target},
            fusion=CrossFusionConfig(reader="target"),
            trunk=trunk,
            heads={"text": LanguageHeadConfig(text="target", tied=_tied(weights))},
        )

    def entries(self, config: ModelConfig, settings: Settings) -> Iterator[Entry]:
        """The key map."""
        trunk, head = config.trunk, cast(LanguageHeadConfig, config.heads["text"])
        assert trunk is not None
        yield Entry(("shared.weight",), ("towers.source.embedding.table.weight",))
        yield from _stack("encoder", "towers.source.stack", config.towers["source"])
        yield from _stack("decoder", "trunk", trunk)
        yield from linear("encoder.final_layer_norm", "towers.source.stack.norm", bias=False)
        scaled = settings.flag("scale_decoder_outputs", settings.flag("tie_word_embeddings", True))
        fold = Scaled(trunk.dim**-0.5) if scaled else SAME
        yield from linear("decoder.final_layer_norm", "trunk.norm", fold, bias=False)
        if not head.tied:
            yield from linear("lm_head", "heads.text.proj", bias=False)

    def ignores(self, config: ModelConfig) -> tuple[str, ...]:
        """The table's name as the map to scores."""
        return (r"lm_head\.weight",) if cast(LanguageHeadConfig, config.heads["text"]).tied else ()

    def settings(self, config: ModelConfig) -> dict[str, dict[str, Any]]:
        """`config.json`; with a tied head their decoder's output is scaled, as T5 1.0's is."""
        source, trunk = cast(TextTowerConfig, config.towers["source"]), cast(StackConfig, config.trunk)
        own, ffn = cast(SoftmaxAttentionConfig, source.attention), cast(FeedForwardConfig, source.ffn)
        bias = cast(RelativeBiasPositionConfig, source.position)
        data: dict[str, Any] = {
            "model_type": "t5",
            "architectures": ["T5ForConditionalGeneration"],
            "is_encoder_decoder": True,
            "vocab_size": source.vocab_size,
            "n_positions": source.max_len,
            "d_model": source.dim,
            "num_layers": source.depth,
            "num_decoder_layers": trunk.depth,
            "num_heads": own.num_heads,
            "d_kv": own.width(source.dim),
            "d_ff": ffn.hidden_dim or 4 * source.dim,
            "feed_forward_proj": _their_feed_forward(ffn),
            "relative_attention_num_buckets": bias.num_buckets,
            "relative_attention_max_distance": bias.max_distance,
            "layer_norm_epsilon": cast(RMSNormConfig, source.norm).eps,
            "tie_word_embeddings": cast(LanguageHeadConfig, config.heads["text"]).tied,
            "pad_token_id": 0,
            "eos_token_id": 1,
            "decoder_start_token_id": 0,
        }
        return {"config.json": data}


def _stack(theirs: str, ours: str, config: StackConfig) -> Iterator[Entry]:
    table = f"{theirs}.block.0.layer.0.SelfAttention.relative_attention_bias"
    yield from linear(table, f"{ours}.position.table", bias=False)
    steps = [("SelfAttention", "self_attn")]
    if config.cross_attention is not None:
        steps.append(("EncDecAttention", "cross_attn"))
    assert config.ffn is not None
    maps = {"wi_0": "gate_proj", "wi_1": "up_proj"} if is_gated(config.ffn) else {"wi": "up_proj"}
    for i in range(config.depth):
        block = f"{ours}.blocks.{i}"
        for number, (their_step, our_step) in enumerate(steps):
            layer = f"{theirs}.block.{i}.layer.{number}"
            for name, our in _PROJECTIONS.items():
                yield from linear(f"{layer}.{their_step}.{name}", f"{block}.{our_step}.step.{our}", bias=False)
            yield from linear(f"{layer}.layer_norm", f"{block}.{our_step}.norm", bias=False)
        layer = f"{theirs}.block.{i}.layer.{len(steps)}"
        for name, our in (maps | {"wo": "down_proj"}).items():
            yield from linear(f"{layer}.DenseReluDense.{name}", f"{block}.ffn.step.{our}", bias=False)
        yield from linear(f"{layer}.layer_norm", f"{block}.ffn.norm", bias=False)


def _feed_forward(settings: Settings) -> FeedForwardConfig:
    word, hidden = str(settings.data["feed_forward_proj"]), settings.number("d_ff")
    gate, _, name = _MEANT.get(word, word).rpartition("-")
    if gate not in ("", "gated"):
        raise UserError(f"{settings.source}: feed_forward_proj {word!r} has no counterpart here")
    activation = Settings({"act": name}, settings.source).activation("act")
    if gate:
        return gated(activation, hidden, bias=False)
    return StandardFeedForwardConfig(hidden_dim=hidden, activation=activation, bias=False)


def _their_feed_forward(ffn: FeedForwardConfig) -> str:
    word = f"gated-{activation_of(ffn)}" if is_gated(ffn) else activation_of(ffn)
    return {meant: said for said, meant in _MEANT.items()}.get(word, word)


def _tied(weights: Mapping[str, Tensor]) -> bool:
    """Whether the map to scores is the table: it is not written a second time, or is the same."""
    head, table = weights.get("lm_head.weight"), weights.get("shared.weight")
    return head is None or (table is not None and head.shape == table.shape and bool((head == table).all()))
