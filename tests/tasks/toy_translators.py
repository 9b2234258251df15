"""Translators of every preset at toy sizes, and pairs of numbers for them."""

from __future__ import annotations

from typing import Any

from patchword.config import RunConfig
from patchword.models.presets import load_config

NAMES = ("translator-tiny", "translator-small", "t5-small", *(f"ref/001-m{i}" for i in (1, 2, 3, 5, 6)))
PUBLISHED = NAMES[3:]


def sizes(dim: int = 32, depth: int = 1, hidden: int = 48, heads: int = 4, longest: int = 40) -> dict[str, Any]:
    """Settings of a translator's sizes."""
    stacks = {
        f"model.{part}.{name}": value
        for part in ("source", "trunk")
        for name, value in (("dim", dim), ("depth", depth), ("ffn.hidden_dim", hidden), ("attention.num_heads", heads))
    }
    rest = {"model.target.dim": dim, "model.trunk.cross_attention.num_heads": heads, "model.source.max_len": longest}
    return stacks | rest | {"model.target.max_len": longest, "model.target.attention.num_heads": heads}


def toy(name: str, **changes: Any) -> RunConfig:
    """A preset at toy size that reads few short numbers; words are digits, whatever the preset's tokenizer."""
    settings: dict[str, Any] = sizes() | {
        "data.source": "digits",
        "data.digits": {"train": 40, "val": 12, "shortest": 2, "longest": 6},
        "data.tokenizer.kind": "words",
        "data.tokenizer.vocab_size": 32,
        "data.tokenizer.min_frequency": 1,
        "model.source.vocab_size": None,
        "model.target.vocab_size": None,
        "task.decode.max_len": 12,
    }
    if name == "t5-small":
        settings |= {
            f"model.{part}.head_dim": 8
            for part in ("source.attention", "target.attention", "trunk.attention", "trunk.cross_attention")
        }
    return load_config(name, settings | changes)
