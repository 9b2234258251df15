"""Decoder-only models of Karpathy's lectures: nanoGPT's checkpoints, and the two programs that led to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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
from patchword.models.convert.gpt2 import QKV
from patchword.models.convert.keymap import Entry, linear, packed
from patchword.models.convert.layout import Layout
from patchword.models.convert.quirks import Chosen
from patchword.models.convert.settings import Settings
from patchword.models.convert.transforms import Chain, Joined, Scaled, Split

TEXT = "towers.text"
_BLOCK = {
    "attn.c_proj": "self_attn.step.out_proj",
    "mlp.c_fc": "ffn.step.up_proj",
    "mlp.c_proj": "ffn.step.down_proj",
    "ln_1": "self_attn.norm",
    "ln_2": "ffn.norm",
}


class BigramLayout(Layout):
    """`bigram.py` of the lecture: a table of scores. Ours has twice its numbers, half of which say nothing."""

    name = "bigram"
    model_types = ("bigram",)

    def config(self, settings: Settings, weights: Mapping[str, Tensor]) -> ModelConfig:
        """A text tower as wide as the vocabulary, without blocks."""
        vocab = settings.number("vocab")
        text = TextTowerConfig(dim=vocab, depth=0, vocab_size=vocab, attention=None, ffn=None)
        head = LanguageHeadConfig(source="text", tied=False)
        return ModelConfig(towers={"text": text}, heads={"text": head})

    def entries(self, config: ModelConfig, settings: Settings) -> Iterator[Entry]:
        """The key map."""
        ours = (f"{TEXT}.embedding.table.weight", "heads.text.proj.weight")
        yield Entry(("token_embedding_table.weight",), ours, Chosen())


class NanoGPTLayout(Layout):
    """`model` and `model_args` of a checkpoint."""

    name = "nanogpt"
    model_types = ("nanogpt",)
    renames = ((r"^_orig_mod\.", ""),)
    ignored = (r"transformer\.h\.\d+\.attn\.bias", r"lm_head\.weight")

    def config(self, settings: Settings, weights: Mapping[str, Tensor]) -> ModelConfig:
        """A causal text tower with exact GELU, and its table as the map to scores."""
        bias = settings.flag("bias", True)
        text = TextTowerConfig(
            dim=settings.number("n_embd"),
            depth=settings.number("n_layer"),
            vocab_size=settings.number("vocab_size"),
            max_len=settings.number("block_size"),
            position=LearnedPositionConfig(),
            attention=SoftmaxAttentionConfig(
                num_heads=settings.number("n_head"), causal=True, bias=bias, out_bias=bias
            ),
            ffn=StandardFeedForwardConfig(activation="gelu", bias=bias),
            norm=LayerNormConfig(bias=bias),
        )
        return ModelConfig(towers={"text": text}, heads={"text": LanguageHeadConfig(source="text")})

    def entries(self, config: ModelConfig, settings: Settings) -> Iterator[Entry]:
        """The key map."""
        bias = settings.flag("bias", True)
        yield Entry(("transformer.wte.weight",), (f"{TEXT}.embedding.table.weight",))
        yield Entry(("transformer.wpe.weight",), (f"{TEXT}.stack.position.table.weight",))
        for i in range(config.towers["text"].depth):
            theirs, ours = f"transformer.h.{i}", f"{TEXT}.stack.blocks.{i}"
            yield from packed(f"{theirs}.attn.c_attn", [f"{ours}.{name}" for name in QKV], Split(3), bias)
            for their_name, our_name in _BLOCK.items():
                yield from linear(f"{theirs}.{their_name}", f"{ours}.{our_name}", bias=bias)
        yield from linear("transformer.ln_f", f"{TEXT}.stack.norm", bias=bias)


class LectureGPTLayout(Layout):
    """`gpt.py` of the lecture: a map for each head's queries, keys and values."""

    name = "lecture-gpt"
    model_types = ("lecture-gpt",)
    ignored = (r"blocks\.\d+\.sa\.heads\.\d+\.tril",)

    def config(self, settings: Settings, weights: Mapping[str, Tensor]) -> ModelConfig:
        """A causal text tower without offsets of queries, keys and values, and a map of its own to scores."""
        text = TextTowerConfig(
            dim=settings.number("n_embd"),
            depth=settings.number("n_layer"),
            vocab_size=settings.number("vocab"),
            max_len=settings.number("block"),
            position=LearnedPositionConfig(),
            attention=SoftmaxAttentionConfig(num_heads=settings.number("n_head"), causal=True, bias=False),
            ffn=StandardFeedForwardConfig(activation="relu"),
        )
        head = LanguageHeadConfig(source="text", tied=False, bias=True)
        return ModelConfig(towers={"text": text}, heads={"text": head})

    def factor(self, config: ModelConfig) -> float:
        """What queries are multiplied by, beside what ours are."""
        return 1.0

    def entries(self, config: ModelConfig, settings: Settings) -> Iterator[Entry]:
        """The key map."""
        text = config.towers["text"]
        assert text.attention is not None
        yield Entry(("token_embedding_table.weight",), (f"{TEXT}.embedding.table.weight",))
        yield Entry(("position_embedding_table.weight",), (f"{TEXT}.stack.position.table.weight",))
        heads = text.attention.num_heads
        for i in range(text.depth):
            theirs, ours = f"blocks.{i}", f"{TEXT}.stack.blocks.{i}"
            for name, our, factor in (("query", "q", self.factor(config)), ("key", "k", 1.0), ("value", "v", 1.0)):
                each = tuple(f"{theirs}.sa.heads.{h}.{name}.weight" for h in range(heads))
                how = Chain(Joined(heads), Scaled(factor))
                yield Entry(each, (f"{ours}.self_attn.step.{our}_proj.weight",), how)
            yield from linear(f"{theirs}.sa.proj", f"{ours}.self_attn.step.out_proj")
            yield from linear(f"{theirs}.ffwd.net.0", f"{ours}.ffn.step.up_proj")
            yield from linear(f"{theirs}.ffwd.net.2", f"{ours}.ffn.step.down_proj")
            yield from linear(f"{theirs}.ln1", f"{ours}.self_attn.norm")
            yield from linear(f"{theirs}.ln2", f"{ours}.ffn.norm")
        yield from linear("ln_f", f"{TEXT}.stack.norm")
        yield from linear("lm_head", "heads.text.proj")


class ColabGPTLayout(LectureGPTLayout):
    """The lecture's notebook, which divides scores by the root of the whole width: folded into queries."""

    name = "colab-gpt"
    model_types = ("colab-gpt",)

    def factor(self, config: ModelConfig) -> float:
        """The root of one head's share of the width."""
        text = config.towers["text"]
        assert text.attention is not None
        return (text.attention.width(text.dim) / text.dim) ** 0.5
