"""Parts of a model of ours as a layout has to have them: what is there, of which kind, and what is written of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from patchword.config import (
    Config,
    ImageTowerConfig,
    LayerNormConfig,
    ModelConfig,
    SoftmaxAttentionConfig,
    StandardFeedForwardConfig,
    TowerConfig,
    UserError,
)
from patchword.models.convert.compare import differences
from patchword.models.convert.settings import their_activation

SPECIALS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
"""Tokens that fill, begin and end the texts of our tokenizers."""
_C = TypeVar("_C", bound=Config)


def has_all(config: ModelConfig, again: ModelConfig) -> None:
    """Whether what was written is read as the same model. Settings are compared before weights: their names say more.

    Raises:
        UserError: it is another, by the paths of what differs.
    """
    others = differences(config, again)
    if others:
        raise UserError(f"that lacks {', '.join(others)}")


def part_of(parts: Mapping[str, Any], path: str, name: str, kind: type[_C]) -> _C:
    """The part of that name.

    Raises:
        UserError: it is not there, or of another kind.
    """
    if name not in parts:
        raise UserError(f"{path} has to have {name}, and has {', '.join(parts) or 'none'}")
    return of_kind(parts[name], f"{path}.{name}", kind)


def of_kind(value: Config | None, path: str, kind: type[_C]) -> _C:
    """The same.

    Raises:
        UserError: it is of another kind.
    """
    if not isinstance(value, kind):
        found = "null" if value is None else value.kind
        raise UserError(f"{path} is {found}, and has to be {kind.kind}")
    return value


def stack_settings(config: TowerConfig, path: str) -> dict[str, Any]:
    """Their settings of the blocks of either tower."""
    ffn = of_kind(config.ffn, f"{path}.ffn", StandardFeedForwardConfig)
    return {
        "hidden_size": config.dim,
        "num_hidden_layers": config.depth,
        "num_attention_heads": of_kind(config.attention, f"{path}.attention", SoftmaxAttentionConfig).num_heads,
        "intermediate_size": ffn.hidden_dim or 4 * config.dim,
        "hidden_act": their_activation(ffn.activation),
        "layer_norm_eps": of_kind(config.norm, f"{path}.norm", LayerNormConfig).eps,
    }


def _square(sides: tuple[int, int], path: str) -> int:
    if sides[0] != sides[1]:
        raise UserError(f"{path} is {list(sides)}: theirs are square")
    return sides[0]


def vision_settings(image: ImageTowerConfig) -> dict[str, Any]:
    """Their `vision_config` of a picture's tower.

    Raises:
        UserError: pictures or patches that are not square, or parts of other kinds than theirs.
    """
    return stack_settings(image, "towers.image") | {
        "image_size": _square(image.image_size, "towers.image.image_size"),
        "patch_size": _square(image.patch_size, "towers.image.patch_size"),
        "num_channels": image.channels,
    }
