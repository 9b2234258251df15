"""The layer summary of system 004 (torchsummary of a vision transformer with Linformer), beside the model itself."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

from torch import nn

from patchword.config import ImageTowerConfig, LabelHeadConfig, LinformerAttentionConfig, ModelConfig, UserError
from patchword.sizing.amounts import in_bytes
from patchword.sizing.published.comparison import Comparison
from patchword.sizing.published.traced import label_step

_FLOAT32, _MB = 4, 2**20


class Layer(NamedTuple):
    """One row of the summary."""

    name: str
    """Class and number."""
    shape: tuple[int, ...]
    """Of its output, without the batch."""
    parameters: int
    """As torchsummary counts them: weights and offsets of modules, nothing else."""


class Dimensions(NamedTuple):
    """What the summary's rows follow from."""

    image: tuple[int, int]
    patches: int
    patch_values: int
    """Numbers in a patch."""
    dim: int
    depth: int
    heads: int
    pooled: int
    """Rows to which keys are pooled."""
    inner: int
    """Width inside the feed-forward."""
    classes: int


def dimensions_of(model: ModelConfig) -> Dimensions:
    """The summary's dimensions.

    Raises:
        UserError: a model of another kind.
    """
    image, head = next(iter(model.towers.values())), next(iter(model.heads.values()))
    if isinstance(image, ImageTowerConfig) and isinstance(head, LabelHeadConfig) and head.num_classes:
        looks, ffn = image.attention, image.ffn
        plain = image.cls_token and not image.stem and not image.embed_norm
        if isinstance(looks, LinformerAttentionConfig) and ffn is not None and plain:
            values, patches = image.channels * prod(image.patch_size), prod(image.grid)
            widths = image.dim, image.depth, looks.num_heads, looks.pooled_len, ffn.hidden_dim or 4 * image.dim
            return Dimensions(image.image_size, patches, values, *widths, head.num_classes)
    raise UserError("the summary is about system 004: a picture with a cls token, linformer attention, a label head")


def layers(d: Dimensions) -> list[Layer]:
    """The summary's rows, numbered from 1."""
    return [Layer(f"{name}-{i}", shape, count) for i, (name, shape, count) in enumerate(_unnumbered(d), 1)]


def _unnumbered(d: Dimensions) -> Iterator[tuple[str, tuple[int, ...], int]]:
    dim, tokens = d.dim, d.patches + 1
    whole, wide, square = (tokens, dim), (tokens, d.inner), dim * dim
    yield "Rearrange", (d.patches, d.patch_values), 0
    yield "Linear", (d.patches, dim), d.patch_values * dim + dim
    for _ in range(d.depth):
        yield "LayerNorm", whole, 2 * dim
        yield from [("Linear", whole, square)] * 3
        yield "Dropout", (d.heads, tokens, d.pooled), 0
        yield "Linear", whole, square + dim
        yield "LinformerSelfAttention", whole, 0
        yield "PreNorm", whole, 0
        yield "LayerNorm", whole, 2 * dim
        yield "Linear", wide, dim * d.inner + d.inner
        yield "GELU", wide, 0
        yield "Dropout", wide, 0
        yield "Linear", whole, d.inner * dim + dim
        yield "FeedForward", whole, 0
        yield "PreNorm", whole, 0
    yield "SequentialSequence", whole, 0
    yield "Linformer", whole, 0
    yield "Identity", (dim,), 0
    yield "LayerNorm", (dim,), 2 * dim
    yield "Linear", (d.classes,), dim * d.classes + d.classes


def totals(d: Dimensions) -> dict[str, float]:
    """The figures below the rows; MB of 2^20 bytes, as torchsummary reckons them: every output twice, in fp32."""
    rows = layers(d)
    parameters = sum(layer.parameters for layer in rows)
    outputs = sum(prod(layer.shape) for layer in rows)
    sizes = (3 * prod(d.image), 2 * outputs, parameters)
    inputs, both, weights = (_FLOAT32 * count / _MB for count in sizes)
    return {
        "parameters": parameters,
        "input_mb": inputs,
        "forward_backward_mb": both,
        "parameters_mb": weights,
        "total_mb": inputs + both + weights,
    }


def missed(built: nn.Module) -> dict[str, int]:
    """Parameters that torchsummary does not see, by what they are: there they are no module's `weight` or `bias`."""
    kinds = {"position.table": "pos_embedding", "embedding.cls": "cls_token", "k_map": "proj_k", "v_map": "proj_v"}
    found: dict[str, int] = {}
    for path, parameter in built.named_parameters():
        for part, name in kinds.items():
            if part in path:
                found[name] = found.get(name, 0) + parameter.numel()
    return found


def compare(name: str, model: ModelConfig, batch: int | None) -> Comparison:
    """The summary beside the model's own parameters and a traced step of training, of one sample if `batch` is None."""
    d, samples = dimensions_of(model), 1 if batch is None else batch
    said = totals(d)
    built, found = label_step(model, samples, d.image)
    lacking, parameters = missed(built), found.total.parameters
    if said["parameters"] + sum(lacking.values()) != parameters:
        raise UserError("the summary is about system 004: this model has other parameters than it")
    rows = [(layer.name, str([-1, *layer.shape]), f"{layer.parameters:,}") for layer in layers(d)]
    rows.append(("sum, as printed", "", f"{said['parameters']:,}"))
    rows += [(f"missed: {what}", "", f"{count:,}") for what, count in lacking.items()]
    rows.append(("true sum", "", f"{parameters:,}"))
    true = {
        "parameters": parameters,
        "missed": lacking,
        "peak_bytes": found.peak_bytes,
        "by_category": found.by_category,
        "flops_forward": found.total.flops.forward,
    }
    system, header = "system 004: its layer summary, as torchsummary prints it", ("layer", "output", "parameters")
    notes = _notes(d, said, lacking, found.peak_bytes, samples)
    return Comparison(name, system, samples, header, tuple(rows), notes, said | {"layers": len(layers(d))}, true)


def _notes(d: Dimensions, said: dict[str, float], lacking: dict[str, int], peak: int, batch: int) -> tuple[str, ...]:
    names = ", ".join(f"{name} {count:,}" for name, count in lacking.items())
    notes = [
        f"The summary misses {sum(lacking.values()):,} parameters that are no module's weight or bias: {names}.",
        f"Its memory, {said['total_mb']:.2f} MB (input {said['input_mb']:.2f}, outputs twice "
        f"{said['forward_backward_mb']:.2f}, parameters {said['parameters_mb']:.2f}), is for one sample, without "
        f"optimizer; a step of training with AdamW of {batch} holds {in_bytes(peak)} at its peak.",
    ]
    if d.pooled >= d.patches + 1:
        notes.append(
            f"Keys are pooled to {d.pooled} rows, more than the {d.patches + 1} tokens there are: here the linear "
            "attention computes and holds more than full attention."
        )
    return tuple(notes)
