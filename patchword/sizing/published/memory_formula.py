"""The memory formula of system 001 (R N^2 D^2 and R B N S terms, float64), beside a traced step of training."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from patchword.config import ModelConfig, TextTowerConfig, UserError
from patchword.sizing.amounts import in_bytes
from patchword.sizing.published.comparison import Comparison
from patchword.sizing.published.traced import language_step
from patchword.sizing.size import Sizing

_FLOAT64, _FLOAT32, _ADAM = 8, 4, 16


class Dimensions(NamedTuple):
    """The letters of the formula."""

    blocks: int
    """R."""
    heads: int
    """N."""
    head_dim: int
    """D."""
    batch: int
    """B."""
    length: int
    """S."""

    @property
    def model(self) -> int:
        """Elements of weights: q, k, v and an MLP of one square matrix; 4 R N^2 D^2."""
        return 4 * self.blocks * (self.heads * self.head_dim) ** 2

    @property
    def activations(self) -> int:
        """Elements of activations: R B N S (S + 2 D)."""
        return self.blocks * self.batch * self.heads * self.length * (self.length + 2 * self.head_dim)


def formula(d: Dimensions) -> dict[str, float]:
    """Every figure that the publication's formulas give for these dimensions; elements, but for names with bytes."""
    whole = d.model + d.activations
    weights = 12 * d.blocks * (d.heads * d.head_dim) ** 2
    return {
        "memory_model": d.model,
        "memory_activations": d.activations,
        "total_elements": whole,
        "total_elements_two_activations": d.model + 2 * d.activations,
        "total_elements_long_S": d.model + d.blocks * d.batch * d.heads * d.length**2,
        "bytes_per_element": _FLOAT64,
        "total_bytes": _FLOAT64 * whole,
        "gib": _FLOAT64 * whole / 2**30,
        "true_block_weights_12C2": weights,
        "adam_fp32_bytes_16_per_param": _ADAM * weights,
    }


def dimensions_of(model: ModelConfig, batch: int) -> Dimensions:
    """The formula's letters for a GPT: a text tower of its own.

    Raises:
        UserError: it has no attention.
    """
    text = model.towers.get("text")
    if not isinstance(text, TextTowerConfig) or text.attention is None or not text.depth:
        raise UserError("the memory formula is about a GPT: a model of one text tower, `text`, with attention")
    return Dimensions(text.depth, text.attention.num_heads, text.attention.width(text.dim), batch, text.max_len)


def compare(name: str, model: ModelConfig, batch: int | None) -> Comparison:
    """The formula's figures beside a traced step of training in fp32 with AdamW, one sample if `batch` is None."""
    d = dimensions_of(model, 1 if batch is None else batch)
    said = formula(d)
    built, found = language_step(model, d.batch, d.length)
    inside = sum(p.numel() for path, p in built.named_parameters() if ".blocks." in path)
    true = {
        "parameters": found.total.parameters,
        "block_parameters": inside,
        "peak_bytes": found.peak_bytes,
        "by_category": found.by_category,
    }
    system = "system 001: memory = (4 R N^2 D^2 + R B N S (S + 2 D)) x 8 bytes"
    header = ("what", "formula", "true")
    return Comparison(name, system, d.batch, header, _rows(d, found, inside), _notes(d, built, found), said, true)


def _rows(d: Dimensions, found: Sizing, inside: int) -> tuple[tuple[str, ...], ...]:
    held, total = found.by_category, _FLOAT64 * (d.model + d.activations)
    rest = sum(
        count for name, count in held.items() if name not in ("parameters", "optimizer", "gradients", "activations")
    )
    two = _FLOAT64 * (d.model + 2 * d.activations)
    return (
        ("weights of the blocks", f"{d.model:,}", f"{inside:,}"),
        ("weights in all", f"{d.model:,}", f"{found.total.parameters:,}"),
        ("weights, as bytes", in_bytes(_FLOAT64 * d.model), in_bytes(held.get("parameters", 0))),
        ("gradients at the peak", "-", in_bytes(held.get("gradients", 0))),
        ("optimizer (AdamW)", "-", in_bytes(held.get("optimizer", 0))),
        ("activations at the peak", in_bytes(_FLOAT64 * d.activations), in_bytes(held.get("activations", 0))),
        ("all else at the peak", "-", in_bytes(rest)),
        ("total", f"{in_bytes(total)} ({total:,})", f"{in_bytes(found.peak_bytes)} ({found.peak_bytes:,})"),
        ("total, with activations twice", f"{in_bytes(two)} ({two:,})", ""),
    )


def _notes(d: Dimensions, built: nn.Module, found: Sizing) -> tuple[str, ...]:
    width, parameters = d.heads * d.head_dim, found.total.parameters
    weights = dict(built.named_parameters())
    squares = sum(p.numel() for path, p in weights.items() if ".blocks." in path and p.ndim == 2)
    tables = sum(p.numel() for path, p in weights.items() if ".blocks." not in path and p.ndim == 2)
    vectors = sum(p.numel() for p in weights.values() if p.ndim < 2)
    vocab = next(p.shape[0] for path, p in weights.items() if path.endswith("embedding.table.weight"))
    factor = found.peak_bytes / (_FLOAT64 * (d.model + d.activations))
    return (
        f"R = {d.blocks} blocks, N = {d.heads} heads, D = {d.head_dim}, B = {d.batch}, S = {d.length:,}.",
        f"Left out: the output projection and three quarters of the feed-forward ({squares:,} weights in the blocks' "
        f"maps, the formula has {d.model:,}: 4 C^2 a block instead of 12 C^2, C = {width:,}).",
        f"Left out: tables of tokens and places, a head of its own ({tables:,}); norms and offsets ({vectors:,}).",
        f"Left out: gradients and optimizer, 12 bytes a parameter in fp32 ({in_bytes(12 * parameters)}).",
        f"Left out: scores over the vocabulary, B S V ({in_bytes(_FLOAT32 * d.batch * d.length * vocab)} in fp32, and "
        "for their gradient again), norms, residuals and the inner width of the feed-forward.",
        "Too much: S^2 scores, which fused softmax attention never holds, and float64, in which nothing is trained.",
        "The publication has two totals, with activations once and twice, and drops gradients, which it names first.",
        f"In all the truth is {factor:.2f} x the formula.",
    )
