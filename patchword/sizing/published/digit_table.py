"""The table of parameters and FLOPs of system 000, tensor by tensor, beside a traced forward pass.

The publication counts FLOPs a token with a batch of two inside its constants: a weight is 4 x its numbers, an offset
2 x, a norm's gain 8 x.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import prod
from typing import NamedTuple

from torch import nn

from patchword.config import (
    ImageTowerConfig,
    ModelConfig,
    RotaryPositionConfig,
    StackConfig,
    TextTowerConfig,
    UserError,
)
from patchword.sizing.published.comparison import Comparison
from patchword.sizing.published.traced import look_everywhere

PRINTED_TOTAL = 140_841_810
"""FLOPs a token that the publication prints below its rows."""
_PRINTED_ROWS = 143_203_410
_MISPRINT = "imageComponent.embed.positionEmbeddings.weight", 802_816, 820_816
_BATCH = 2


class Row(NamedTuple):
    """One tensor of the table."""

    name: str
    """As published."""
    path: str
    """The same tensor in this toolkit's model."""
    shape: tuple[int, ...]
    """As published: a convolution's weight has four axes."""
    printed: int
    """FLOPs a token, for two samples, as printed."""

    @property
    def parameters(self) -> int:
        """Numbers in it."""
        return prod(self.shape)


class Parts(NamedTuple):
    """What the table's rows follow from."""

    image: ImageTowerConfig
    trunk: StackConfig
    inner: int
    """Width inside the picture's feed-forward."""
    gated: int
    """Width inside the trunk's."""
    vocab: int


def parts_of(model: ModelConfig) -> Parts:
    """The table's parts of a model.

    Raises:
        UserError: it is of another kind.
    """
    image, text, trunk = model.towers.get("image"), model.towers.get("text"), model.trunk
    if isinstance(image, ImageTowerConfig) and isinstance(text, TextTowerConfig) and trunk is not None:
        plain = not image.stem and not image.cls_token and isinstance(trunk.position, RotaryPositionConfig)
        inner, gated = (ffn.hidden_dim if ffn is not None else None for ffn in (image.ffn, trunk.ffn))
        if plain and inner and gated and text.vocab_size:
            return Parts(image, trunk, inner, gated, text.vocab_size)
    raise UserError(
        "the table is about system 000: a picture without stem and cls token, a text, and a trunk with rotary places; "
        "vocab_size and both hidden_dim are given"
    )


def rows(parts: Parts) -> list[Row]:
    """The published table's rows, in its order."""
    dim = parts.trunk.dim
    made = [Row("embed.weight", "towers.text.embedding.table.weight", (parts.vocab, dim), 0)]
    made += _image(parts.image, parts.inner)
    made += _linear("projected.project", "fusion.projectors.image", dim, parts.image.dim)
    for layer in range(parts.trunk.depth):
        made += _text_layer(f"logits.decoderLayers.{layer}", f"trunk.blocks.{layer}", dim, parts.gated)
    made.append(_gain("logits.normFinal", "trunk.norm", dim))
    return [*made, *_linear("logits.logits", "heads.text.proj", parts.vocab, dim)]


def _image(image: ImageTowerConfig, inner: int) -> Iterator[Row]:
    dim, (high, wide) = image.dim, image.patch_size
    shape, count = (dim, image.channels, high, wide), dim * image.channels * high * wide
    own, path = "imageComponent.embed", "towers.image"
    yield Row(f"{own}.patchConv.weight", f"{path}.embedding.proj.weight", shape, 4 * count)
    yield Row(f"{own}.patchConv.bias", f"{path}.embedding.proj.bias", (dim,), 2 * dim)
    places = (image.grid[0] * image.grid[1], dim)
    name, right, printed = _MISPRINT
    flops = 2 * prod(places)
    yield Row(name, f"{path}.stack.position.table.weight", places, printed if flops == right else flops)
    for layer in range(image.depth):
        own, block = f"imageComponent.layers.{layer}", f"{path}.stack.blocks.{layer}"
        yield from _norm(f"{own}.norm1", f"{block}.self_attn.norm", dim)
        yield from _attention(f"{own}.att", f"{block}.self_attn.step", dim)
        yield from _norm(f"{own}.norm2", f"{block}.ffn.norm", dim)
        yield from _linear(f"{own}.FF.fc1", f"{block}.ffn.step.up_proj", inner, dim)
        yield from _linear(f"{own}.FF.fc2", f"{block}.ffn.step.down_proj", dim, inner)
    yield from _norm("imageComponent.normFinal", f"{path}.stack.norm", dim)


def _text_layer(own: str, block: str, dim: int, inner: int) -> Iterator[Row]:
    yield from _attention(f"{own}.att", f"{block}.self_attn.step", dim)
    yield _gain(f"{own}.norm1", f"{block}.self_attn.norm", dim)
    for name, shape in (("gate_proj", (inner, dim)), ("up_proj", (inner, dim)), ("down_proj", (dim, inner))):
        yield Row(f"{own}.FF.{name}.weight", f"{block}.ffn.step.{name}.weight", shape, 4 * dim * inner)
    yield _gain(f"{own}.norm2", f"{block}.ffn.norm", dim)


def _attention(own: str, path: str, dim: int) -> Iterator[Row]:
    for short, name in (("wq", "q_proj"), ("wk", "k_proj"), ("wv", "v_proj"), ("wo", "out_proj")):
        yield from _linear(f"{own}.{short}", f"{path}.{name}", dim, dim)


def _linear(own: str, path: str, out: int, into: int) -> Iterator[Row]:
    yield Row(f"{own}.weight", f"{path}.weight", (out, into), 4 * out * into)
    yield Row(f"{own}.bias", f"{path}.bias", (out,), 2 * out)


def _norm(own: str, path: str, dim: int) -> Iterator[Row]:
    yield _gain(own, path, dim)
    yield Row(f"{own}.bias", f"{path}.bias", (dim,), 2 * dim)


def _gain(own: str, path: str, dim: int) -> Row:
    return Row(f"{own}.weight", f"{path}.weight", (dim,), 8 * dim)


# ------------------------------------------------------------------ the truth


def closed_form(parts: Parts, batch: int, words: int = 0) -> dict[str, int]:
    """Products of the forward pass by hand: a picture and `words` words in one sequence, scores at each of its places.

    A map has 2 x in x out a token; attention 4 x width for each pair of tokens.
    """
    image, trunk = parts.image, parts.trunk
    seen, dim, width = prod(image.grid), image.dim, trunk.dim
    length = seen + words
    first = 2 * image.channels * prod(image.patch_size) * dim
    blocks = image.depth * (8 * dim * dim + 4 * dim * parts.inner + 4 * seen * dim)
    layers = trunk.depth * (8 * width * width + 6 * width * parts.gated + 4 * length * width)
    return {
        "image_and_projector": batch * seen * (first + blocks + 2 * dim * width),
        "text_layers": batch * length * layers,
        "head": batch * length * 2 * width * parts.vocab,
    }


def compare(name: str, model: ModelConfig, batch: int | None) -> Comparison:
    """The published rows beside the traced FLOPs of each tensor, for two samples if `batch` is None."""
    parts, samples = parts_of(model), _BATCH if batch is None else batch
    table, tokens = rows(parts), prod(parts.image.grid)
    built, record = look_everywhere(model, samples, parts.image.image_size, 0)
    _check(table, built)
    products, vectors = Counter[str](), Counter[str]()
    for op in record.ops:
        products[op.module] += op.work.model
        vectors[op.module] += op.work.vector
    printed, sums = sum(row.printed for row in table), closed_form(parts, samples)
    shown = [_shown(row, products, vectors) for row in table]
    named = {row.path.rpartition(".")[0] for row in table}
    for path, count in products.items():
        if count and path not in named:
            shown.append((f"(q k^T, weights v: {path.removesuffix('.step.mechanism')})", "-", "-", f"{count:,}", ""))
    true = {
        "parameters": sum(p.numel() for p in built.parameters()),
        "matmul_flops": sum(products.values()),
        "vector_flops": sum(vectors.values()),
        "closed_form": sums,
    }
    numbers, every = sum(row.parameters for row in table), (true["matmul_flops"], true["vector_flops"])
    shown.append(("sum", f"{numbers:,}", f"{printed:,} x T", *(f"{count:,}" for count in every)))
    published = {
        "parameters": numbers,
        "flops_rows_sum": printed,
        "flops_printed_total": PRINTED_TOTAL,
        "rows": [[row.name, row.parameters, row.printed] for row in table],
    }
    header = ("tensor", "parameters", "printed FLOPs a token", "true products", "other arithmetic")
    system = f"system 000: its table of tensors; true for {samples} samples of {tokens:,} tokens, scores at each"
    return Comparison(name, system, samples, header, tuple(shown), _notes(printed, sums, tokens), published, true)


def _check(table: list[Row], built: nn.Module) -> None:
    """Each row is one tensor of the model, and none is left over."""
    shapes = {path: p.numel() for path, p in built.named_parameters()}
    if {row.path: row.parameters for row in table} != shapes:
        raise UserError("the table is about system 000: this model has other tensors than it")


def _shown(row: Row, products: Counter[str], vectors: Counter[str]) -> tuple[str, ...]:
    module, _, what = row.path.rpartition(".")
    found = (f"{products[module]:,}", f"{vectors[module]:,}") if what == "weight" else ("", "")
    return (row.name, f"{row.parameters:,}", f"{row.printed:,} x T" if row.printed else "0", *found)


def _notes(printed: int, sums: dict[str, int], tokens: int) -> tuple[str, ...]:
    last, more = sums["head"] // tokens, printed - PRINTED_TOTAL
    parts = " + ".join(f"{name} {count:,}" for name, count in sums.items())
    flags = (
        f"The printed total, {PRINTED_TOTAL:,} x T, is wrong: its own rows add up to {printed:,} x T, {more:,} more.",
        f"Printed {_MISPRINT[2]:,} for the table of places is {_MISPRINT[1]:,} with two digits swapped, of all places "
        "together, so it is not to be multiplied by T.",
    )
    return (
        *(flags if printed == _PRINTED_ROWS else ()),
        "The batch of 2 is inside the constants, and one T stands for the tokens of the picture and of the text alike.",
        "Left out: q k^T and weights x v, 4 T x width for each token and layer; softmax, GELU, gates, residuals.",
        "Norms with an offset are counted as root-mean-square norms.",
        f"True products by hand: {parts} = {sum(sums.values()):,}.",
        f"Its loss needs scores of the last place only: {last:,} FLOPs instead of {sums['head']:,}.",
    )
