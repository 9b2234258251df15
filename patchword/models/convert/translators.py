"""Encoder-decoder models of public tutorials: two text towers, the target's tokens look at the source's."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping

from torch import Tensor

from patchword.config import LearnedPositionConfig, ModelConfig
from patchword.models.convert.keymap import Entry, linear, linears, packed
from patchword.models.convert.layout import Layout
from patchword.models.convert.settings import Settings
from patchword.models.convert.transforms import SAME, Scaled, SplitHeads, Transform, Unwrapped
from patchword.models.presets import tutorials
from patchword.models.presets.tutorials import Sizes

SOURCE, TARGET = "towers.source", "towers.target"


class TranslatorLayout(Layout):
    """What they have in common: one shape of both stacks, sinusoidal positions, a map of its own to scores."""

    interleaved = True
    sizes: tuple[str, str, str, str, str] = ("d_model", "num_layers", "num_heads", "d_ff", "max_seq_length")
    """Their names of width, depth, heads, inner width and the longest text."""

    def config(self, settings: Settings, weights: Mapping[str, Tensor]) -> ModelConfig:
        """Two towers and a trunk."""
        dim, depth, heads, hidden, longest = (settings.number(name) for name in self.sizes)
        source, target = settings.number("src_vocab"), settings.number("tgt_vocab")
        return self.model(Sizes(dim, depth, heads, hidden, longest, source, target))

    @abstractmethod
    def model(self, sizes: Sizes) -> ModelConfig:
        """The model of these sizes."""

    def entries(self, config: ModelConfig, settings: Settings) -> Iterator[Entry]:
        """Both stacks block by block, then what else there is."""
        assert config.trunk is not None
        for i in range(config.towers["source"].depth):
            yield from self.block("encoder", f"{SOURCE}.stack.blocks.{i}", i, config)
        for i in range(config.trunk.depth):
            yield from self.block("decoder", f"trunk.blocks.{i}", i, config)
        yield from self.rest(config)

    @abstractmethod
    def block(self, side: str, ours: str, index: int, config: ModelConfig) -> Iterator[Entry]:
        """One block of the `encoder` or the `decoder`."""

    @abstractmethod
    def rest(self, config: ModelConfig) -> Iterator[Entry]:
        """Tables, last norms, the map to scores."""


def _steps(side: str, *names: str) -> Iterator[tuple[str, str]]:
    """Their names of a block's steps beside ours: two in an encoder, three in a decoder."""
    ours = ("self_attn", "ffn") if side == "encoder" else ("self_attn", "cross_attn", "ffn")
    return zip(names, ours, strict=True)


# ------------------------------------------------------------------ norms with an unbiased standard deviation


class _UnbiasedLayout(TranslatorLayout):
    """alpha (x - mean) / (std + 1e-6) + bias, std with D - 1 for D: its root ratio is folded into the gain."""

    def unbiased(self, theirs: str, ours: str, config: ModelConfig) -> Iterator[Entry]:
        """One such norm."""
        dim = config.towers["source"].dim
        yield Entry((f"{theirs}.alpha",), (f"{ours}.weight",), Scaled((1 - 1 / dim) ** 0.5))
        yield Entry((f"{theirs}.bias",), (f"{ours}.bias",))


class HkprojLayout(_UnbiasedLayout):
    """github.com/hkproj/pytorch-transformer."""

    name = "hkproj-transformer"
    model_types = ("hkproj-transformer",)
    ignored = (r"(src|tgt)_pos\.pe",)
    sizes = ("d_model", "N", "h", "d_ff", "seq_len")

    def model(self, sizes: Sizes) -> ModelConfig:
        """As the preset ref/001-m1."""
        return tutorials.hkproj(sizes)

    def block(self, side: str, ours: str, index: int, config: ModelConfig) -> Iterator[Entry]:
        """One block."""
        theirs = f"{side}.layers.{index}"
        looks = ("self_attention_block", "cross_attention_block")[: 1 if side == "encoder" else 2]
        for number, (name, our) in enumerate(_steps(side, *looks, "feed_forward_block")):
            yield from self.unbiased(f"{theirs}.residual_connections.{number}.norm", f"{ours}.{our}.norm", config)
            step = f"{theirs}.{name}"
            if our == "ffn":
                yield from linear(f"{step}.linear_1", f"{ours}.ffn.step.up_proj")
                yield from linear(f"{step}.linear_2", f"{ours}.ffn.step.down_proj")
                continue
            for their_map, our_map in (("w_q", "q_proj"), ("w_k", "k_proj"), ("w_v", "v_proj"), ("w_o", "out_proj")):
                yield from linear(f"{step}.{their_map}", f"{ours}.{our}.step.{our_map}", bias=False)

    def rest(self, config: ModelConfig) -> Iterator[Entry]:
        """Tables, last norms, the map to scores."""
        yield from linear("src_embed.embedding", f"{SOURCE}.embedding.table", bias=False)
        yield from linear("tgt_embed.embedding", f"{TARGET}.embedding.table", bias=False)
        yield from self.unbiased("encoder.norm", f"{SOURCE}.stack.norm", config)
        yield from self.unbiased("decoder.norm", "trunk.norm", config)
        yield from linear("projection_layer.proj", "heads.text.proj")


class EvansLayout(_UnbiasedLayout):
    """github.com/SamLynnEvans/Transformer, whose waves have a wrong exponent: its places are a table here."""

    name = "samlynnevans-transformer"
    model_types = ("samlynnevans-transformer",)
    interleaved = False
    sizes = ("d_model", "N", "heads", "d_ff", "max_seq_len")

    def model(self, sizes: Sizes) -> ModelConfig:
        """As the preset ref/001-m3, with a table."""
        return tutorials.evans(sizes, LearnedPositionConfig())

    def block(self, side: str, ours: str, index: int, config: ModelConfig) -> Iterator[Entry]:
        """One block."""
        theirs = f"{side}.layers.{index}"
        looks = ("attn",) if side == "encoder" else ("attn_1", "attn_2")
        for number, (name, our) in enumerate(_steps(side, *looks, "ff"), start=1):
            yield from self.unbiased(f"{theirs}.norm_{number}", f"{ours}.{our}.norm", config)
            maps = {"linear_1": "up_proj", "linear_2": "down_proj"}
            if our != "ffn":
                maps = {f"{letter}_linear": f"{letter}_proj" for letter in "qkv"} | {"out": "out_proj"}
            yield from linears(maps, f"{theirs}.{name}", f"{ours}.{our}.step")

    def rest(self, config: ModelConfig) -> Iterator[Entry]:
        """Tables, last norms, the map to scores."""
        for side, tower, last in (("encoder", SOURCE, f"{SOURCE}.stack.norm"), ("decoder", TARGET, "trunk.norm")):
            yield from linear(f"{side}.embed.embed", f"{tower}.embedding.table", bias=False)
            yield Entry((f"{side}.pe.pe",), (f"{tower}.stack.position.table.weight",), Unwrapped(1))
            yield from self.unbiased(f"{side}.norm", last, config)
        yield from linear("out", "heads.text.proj")


# ------------------------------------------------------------------ norms after each step


class ArticleLayout(TranslatorLayout):
    """The transformer of a much-copied article (Towards Data Science, DataCamp)."""

    name = "article-transformer"
    model_types = ("article-transformer",)
    ignored = (r"positional_encoding\.pe",)

    def model(self, sizes: Sizes) -> ModelConfig:
        """As the preset ref/001-m2."""
        return tutorials.article(sizes)

    def block(self, side: str, ours: str, index: int, config: ModelConfig) -> Iterator[Entry]:
        """One block."""
        theirs = f"{side}_layers.{index}"
        looks = ("self_attn", "cross_attn")[: 1 if side == "encoder" else 2]
        for number, (name, our) in enumerate(_steps(side, *looks, "feed_forward"), start=1):
            yield from linear(f"{theirs}.norm{number}", f"{ours}.{our}.norm")
            maps = {"fc1": "up_proj", "fc2": "down_proj"}
            if our != "ffn":
                maps = {"W_q": "q_proj", "W_k": "k_proj", "W_v": "v_proj", "W_o": "out_proj"}
            yield from linears(maps, f"{theirs}.{name}", f"{ours}.{our}.step")

    def rest(self, config: ModelConfig) -> Iterator[Entry]:
        """Tables and the map to scores."""
        yield from linear("encoder_embedding", f"{SOURCE}.embedding.table", bias=False)
        yield from linear("decoder_embedding", f"{TARGET}.embedding.table", bias=False)
        yield from linear("fc", "heads.text.proj")


class AjhalthorLayout(TranslatorLayout):
    """github.com/ajhalthor/Transformer-Neural-Network, which packs queries, keys and values head by head."""

    name = "ajhalthor-transformer"
    model_types = ("ajhalthor-transformer",)
    sizes = ("d_model", "layers", "heads", "ffn_hidden", "max_len")

    def model(self, sizes: Sizes) -> ModelConfig:
        """As the preset ref/001-m6."""
        return tutorials.ajhalthor(sizes)

    def block(self, side: str, ours: str, index: int, config: ModelConfig) -> Iterator[Entry]:
        """One block."""
        theirs, own = f"{side}.layers.{index}", config.towers["source"].attention
        assert own is not None
        look, norms = ("attention", "norm") if side == "encoder" else ("self_attention", "layer_norm")
        maps = [f"{ours}.self_attn.step.{letter}_proj" for letter in "qkv"]
        yield from packed(f"{theirs}.{look}.qkv_layer", maps, SplitHeads(own.num_heads, 3))
        yield from linear(f"{theirs}.{look}.linear_layer", f"{ours}.self_attn.step.out_proj")
        if side == "decoder":
            beside, step = f"{theirs}.encoder_decoder_attention", f"{ours}.cross_attn.step"
            yield from packed(f"{beside}.kv_layer", [f"{step}.k_proj", f"{step}.v_proj"], SplitHeads(own.num_heads, 2))
            yield from linear(f"{beside}.q_layer", f"{step}.q_proj")
            yield from linear(f"{beside}.linear_layer", f"{step}.out_proj")
        yield from linears({"linear1": "up_proj", "linear2": "down_proj"}, f"{theirs}.ffn", f"{ours}.ffn.step")
        numbers = ("1", "2") if side == "encoder" else ("1", "2", "3")
        for number, our in _steps(side, *numbers):
            yield from _greek(f"{theirs}.{norms}{number}", f"{ours}.{our}.norm")

    def rest(self, config: ModelConfig) -> Iterator[Entry]:
        """Tables and the map to scores."""
        for side, tower in (("encoder", SOURCE), ("decoder", TARGET)):
            yield from linear(f"{side}.sentence_embedding.embedding", f"{tower}.embedding.table", bias=False)
        yield from linear("linear", "heads.text.proj")


def _greek(theirs: str, ours: str, how: Transform = SAME) -> Iterator[Entry]:
    yield Entry((f"{theirs}.gamma",), (f"{ours}.weight",), how)
    yield Entry((f"{theirs}.beta",), (f"{ours}.bias",), how)
