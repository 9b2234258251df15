"""Models made of torch's own transformer layers, which pack queries, keys and values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from patchword.config import (
    LanguageHeadConfig,
    ModelConfig,
    ResidualConfig,
    SinusoidalPositionConfig,
    SoftmaxAttentionConfig,
    StandardFeedForwardConfig,
    TextTowerConfig,
)
from patchword.models.convert.keymap import Entry, linear
from patchword.models.convert.layout import Layout
from patchword.models.convert.settings import Settings
from patchword.models.convert.transforms import Split


def encoder_layer(theirs: str, ours: str) -> Iterator[Entry]:
    """`nn.TransformerEncoderLayer`."""
    yield from _attention(f"{theirs}.self_attn", f"{ours}.self_attn.step")
    yield from _feed_forward(theirs, ours)
    yield from linear(f"{theirs}.norm1", f"{ours}.self_attn.norm")
    yield from linear(f"{theirs}.norm2", f"{ours}.ffn.norm")


def decoder_layer(theirs: str, ours: str) -> Iterator[Entry]:
    """`nn.TransformerDecoderLayer`."""
    yield from _attention(f"{theirs}.self_attn", f"{ours}.self_attn.step")
    yield from _attention(f"{theirs}.multihead_attn", f"{ours}.cross_attn.step")
    yield from _feed_forward(theirs, ours)
    for number, step in enumerate(("self_attn", "cross_attn", "ffn"), start=1):
        yield from linear(f"{theirs}.norm{number}", f"{ours}.{step}.norm")


def transformer(depth: int, encoder: str, decoder: str) -> Iterator[Entry]:
    """`nn.Transformer` with stacks of that depth, below two prefixes of ours."""
    for i in range(depth):
        yield from encoder_layer(f"encoder.layers.{i}", f"{encoder}.blocks.{i}")
        yield from decoder_layer(f"decoder.layers.{i}", f"{decoder}.blocks.{i}")
    yield from linear("encoder.norm", f"{encoder}.norm")
    yield from linear("decoder.norm", f"{decoder}.norm")


class TorchLanguageModelLayout(Layout):
    """The language model of torch's tutorial: a causal `nn.TransformerEncoder`, post-norm, without a last norm."""

    name = "torch-language-model"
    model_types = ("torch-language-model",)
    interleaved = True
    ignored = (r"pos_encoder\.pe",)
    final_norm = False
    """Whether its encoder ends with a norm."""
    sizes: tuple[str, ...] = ("d_model", "nlayers", "nhead", "d_hid")
    """Their names of width, depth, heads and inner width."""
    parts: tuple[str, ...] = ("embedding", "transformer_encoder", "linear")
    """Their names of the table, the encoder and the map to scores."""

    def config(self, settings: Settings, weights: Mapping[str, Tensor]) -> ModelConfig:
        """A causal text tower, and a map of its own to scores."""
        dim, depth, heads, hidden = (settings.number(name) for name in self.sizes)
        text = TextTowerConfig(
            dim=dim,
            depth=depth,
            vocab_size=settings.number("ntoken"),
            max_len=settings.number("max_len", 5000),
            embed_scale=True,
            position=SinusoidalPositionConfig(),
            attention=SoftmaxAttentionConfig(num_heads=heads, causal=True),
            ffn=StandardFeedForwardConfig(hidden_dim=hidden, activation="relu"),
            residual=ResidualConfig(placement="post"),
            final_norm=self.final_norm,
        )
        head = LanguageHeadConfig(source="text", tied=False, bias=True)
        return ModelConfig(towers={"text": text}, heads={"text": head})

    def entries(self, config: ModelConfig, settings: Settings) -> Iterator[Entry]:
        """The key map."""
        table, encoder, scores = self.parts
        yield from linear(table, "towers.text.embedding.table", bias=False)
        for i in range(config.towers["text"].depth):
            yield from encoder_layer(f"{encoder}.layers.{i}", f"towers.text.stack.blocks.{i}")
        if self.final_norm:
            yield from linear(f"{encoder}.norm", "towers.text.stack.norm")
        yield from linear(scores, "heads.text.proj")


class WordLanguageModelLayout(TorchLanguageModelLayout):
    """`word_language_model` of torch's examples, with a last norm; its scores are log-probabilities, ours are not."""

    name = "word-language-model"
    model_types = ("word-language-model",)
    final_norm = True
    sizes = ("ninp", "nlayers", "nhead", "nhid")
    parts = ("input_emb", "encoder", "decoder")


def _attention(theirs: str, ours: str) -> Iterator[Entry]:
    for part in ("weight", "bias"):
        names = tuple(f"{ours}.{letter}_proj.{part}" for letter in "qkv")
        yield Entry((f"{theirs}.in_proj_{part}",), names, Split(3))
    yield from linear(f"{theirs}.out_proj", f"{ours}.out_proj")


def _feed_forward(theirs: str, ours: str) -> Iterator[Entry]:
    yield from linear(f"{theirs}.linear1", f"{ours}.ffn.step.up_proj")
    yield from linear(f"{theirs}.linear2", f"{ours}.ffn.step.down_proj")
