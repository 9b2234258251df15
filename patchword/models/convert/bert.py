"""BERT in Hugging Face's layout (`BertModel`, `BertForMaskedLM`, `BertForSequenceClassification`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from torch import Tensor

from patchword.config import (
    FirstPoolConfig,
    HeadConfig,
    LabelHeadConfig,
    LanguageHeadConfig,
    LayerNormConfig,
    LearnedPositionConfig,
    ModelConfig,
    ResidualConfig,
    SoftmaxAttentionConfig,
    StandardFeedForwardConfig,
    TextTowerConfig,
)
from patchword.models.convert.defaults import completed
from patchword.models.convert.keymap import Entry, linear, linears
from patchword.models.convert.layout import Layout
from patchword.models.convert.quirks import Added
from patchword.models.convert.settings import Settings, their_activation

TEXT = "towers.text"
_BLOCK = {
    "attention.self.query": "self_attn.step.q_proj",
    "attention.self.key": "self_attn.step.k_proj",
    "attention.self.value": "self_attn.step.v_proj",
    "attention.output.dense": "self_attn.step.out_proj",
    "attention.output.LayerNorm": "self_attn.norm",
    "intermediate.dense": "ffn.step.up_proj",
    "output.dense": "ffn.step.down_proj",
    "output.LayerNorm": "ffn.norm",
}


class BertLayout(Layout):
    """Every token gets the vector of the first of two segments: it is added to the table of places."""

    name = "bert"
    model_types = ("bert",)
    writes = True
    renames = (
        (r"\.gamma$", ".weight"),
        (r"\.beta$", ".bias"),
        (r"^(?!bert\.|cls\.|classifier\.)", "bert."),
    )
    ignored = (r"bert\.embeddings\.(position_ids|token_type_ids)",)
    left_out = (
        (r"cls\.seq_relationship\..*", "the head that says whether one sentence follows another"),
        (r"bert\.pooler\..*", "the pooler, which no head reads"),
    )

    def config(self, settings: Settings, weights: Mapping[str, Tensor]) -> ModelConfig:
        """A post-norm text tower, and the head that the weights are for."""
        settings.refuse(is_decoder=False, add_cross_attention=False, position_embedding_type="absolute")
        settings = completed(settings, "bert")
        activation, norm = settings.activation("hidden_act"), LayerNormConfig(eps=settings.real("layer_norm_eps"))
        text = TextTowerConfig(
            dim=settings.number("hidden_size"),
            depth=settings.number("num_hidden_layers"),
            vocab_size=settings.number("vocab_size"),
            max_len=settings.number("max_position_embeddings"),
            position=LearnedPositionConfig(),
            attention=SoftmaxAttentionConfig(num_heads=settings.number("num_attention_heads")),
            ffn=StandardFeedForwardConfig(hidden_dim=settings.number("intermediate_size"), activation=activation),
            norm=norm,
            residual=ResidualConfig(placement="post"),
            entry_norm=True,
            final_norm=False,
        )
        heads: dict[str, HeadConfig] = {}
        if "cls.predictions.transform.dense.weight" in weights:
            tied = settings.flag("tie_word_embeddings", True)
            heads["text"] = LanguageHeadConfig(source="text", tied=tied, bias=True, transform=activation, norm=norm)
        if "classifier.weight" in weights:
            classes = len(weights["classifier.weight"])
            pool = FirstPoolConfig()
            heads["label"] = LabelHeadConfig(source="text", num_classes=classes, pool=pool, transform="tanh")
        return ModelConfig(towers={"text": text}, heads=heads)

    def entries(self, config: ModelConfig, settings: Settings) -> Iterator[Entry]:
        """The key map."""
        embeddings = "bert.embeddings"
        yield Entry((f"{embeddings}.word_embeddings.weight",), (f"{TEXT}.embedding.table.weight",))
        tables = (f"{embeddings}.position_embeddings.weight", f"{embeddings}.token_type_embeddings.weight")
        yield Entry(tables, (f"{TEXT}.stack.position.table.weight",), Added(settings.number("type_vocab_size", 2)))
        yield from linear(f"{embeddings}.LayerNorm", f"{TEXT}.stack.entry_norm")
        for i in range(config.towers["text"].depth):
            yield from linears(_BLOCK, f"bert.encoder.layer.{i}", f"{TEXT}.stack.blocks.{i}")
        if "text" in config.heads:
            theirs = "cls.predictions"
            yield from linear(f"{theirs}.transform.dense", "heads.text.transform.proj")
            yield from linear(f"{theirs}.transform.LayerNorm", "heads.text.transform.norm")
            if cast(LanguageHeadConfig, config.heads["text"]).tied:
                yield Entry((f"{theirs}.bias",), ("heads.text.proj.bias",))
            else:
                yield from linear(f"{theirs}.decoder", "heads.text.proj")
        if "label" in config.heads:
            yield from linear("bert.pooler.dense", "heads.label.transform.proj")
            yield from linear("classifier", "heads.label.proj")

    def ignores(self, config: ModelConfig) -> tuple[str, ...]:
        """Second names of the table and of the offset of scores: of two offsets their program reads the decoder's."""
        head = config.heads.get("text")
        if not isinstance(head, LanguageHeadConfig):
            return ()
        return (r"cls\.predictions\.decoder\.(weight|bias)",) if head.tied else (r"cls\.predictions\.bias",)

    def settings(self, config: ModelConfig) -> dict[str, dict[str, Any]]:
        """`config.json`."""
        text = cast(TextTowerConfig, config.towers["text"])
        own, ffn = cast(SoftmaxAttentionConfig, text.attention), cast(StandardFeedForwardConfig, text.ffn)
        words, label = config.heads.get("text"), config.heads.get("label")
        model = "ForMaskedLM" if words is not None else "ForSequenceClassification" if label is not None else "Model"
        data: dict[str, Any] = {
            "model_type": "bert",
            "architectures": [f"Bert{model}"],
            "vocab_size": text.vocab_size,
            "max_position_embeddings": text.max_len,
            "type_vocab_size": 2,
            "hidden_size": text.dim,
            "num_hidden_layers": text.depth,
            "num_attention_heads": own.num_heads,
            "intermediate_size": ffn.hidden_dim or 4 * text.dim,
            "hidden_act": their_activation(ffn.activation),
            "layer_norm_eps": cast(LayerNormConfig, text.norm).eps,
        }
        if isinstance(words, LanguageHeadConfig):
            data["tie_word_embeddings"] = words.tied
        if isinstance(label, LabelHeadConfig):
            data["id2label"] = {str(i): f"LABEL_{i}" for i in range(label.num_classes or 0)}
            data["label2id"] = {f"LABEL_{i}": i for i in range(label.num_classes or 0)}
        return {"config.json": data}
