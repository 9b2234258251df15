"""Rotary positions as Hugging Face's decoders write them: `rope_parameters`, before `rope_theta` and `rope_scaling`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from patchword.config import (
    LinearRotaryScalingConfig,
    Llama3RotaryScalingConfig,
    RotaryPositionConfig,
    RotaryScalingConfig,
    UserError,
    YarnRotaryScalingConfig,
)
from patchword.models.convert.settings import Settings

_TRAINED = "original_max_position_embeddings"


class Scaling(NamedTuple):
    """One of their scalings that ours have, too."""

    kind: type[RotaryScalingConfig]
    """Ours."""
    names: Mapping[str, str]
    """Their settings, and what each is of ours."""
    defaults: Mapping[str, float] = {}
    """What theirs takes where a file does not say."""
    expected: Mapping[str, Any] = {}
    """Settings that have no counterpart here unless they are so."""


SCALINGS = {
    "linear": Scaling(LinearRotaryScalingConfig, {"factor": "factor"}),
    "yarn": Scaling(
        YarnRotaryScalingConfig,
        {"factor": "factor", "beta_fast": "beta_fast", "beta_slow": "beta_slow", _TRAINED: "trained_len"},
        defaults={"beta_fast": 32.0, "beta_slow": 1.0},
        expected={"attention_factor": (), "mscale": (), "mscale_all_dim": (), "truncate": True},
    ),
    "llama3": Scaling(
        Llama3RotaryScalingConfig,
        {"factor": "factor", "high_freq_factor": "beta_fast", "low_freq_factor": "beta_slow", _TRAINED: "trained_len"},
    ),
}
"""By their `rope_type`; "default" is none."""


def rotary(settings: Settings) -> RotaryPositionConfig:
    """The rotary positions that their settings describe.

    Raises:
        UserError: a scaling that ours lack, or several kinds of layers.
    """
    rope = settings.part("rope_scaling" if settings.data.get("rope_scaling") else "rope_parameters")
    if any(isinstance(value, Mapping) for value in rope.data.values()):
        raise UserError(f"{rope.source}: several kinds of layers with angles of their own have no counterpart here")
    theta = rope.real("rope_theta", settings.real("rope_theta", 10_000.0))
    share = rope.real("partial_rotary_factor", settings.real("partial_rotary_factor", 1.0))
    return RotaryPositionConfig(theta=theta, share=share, scaling=_scaling(rope, settings))


def _scaling(rope: Settings, settings: Settings) -> RotaryScalingConfig | None:
    name = rope.data.get("rope_type", rope.data.get("type", "default"))
    if name == "default":
        return None
    if name not in SCALINGS:
        raise UserError(f"{rope.source}: rotary scaling {name!r} has no counterpart here; {', '.join(SCALINGS)} have")
    kind, names, defaults, expected = SCALINGS[name]
    rope.refuse(**expected)
    found: dict[str, Any] = {
        our: rope.real(their, defaults.get(their)) for their, our in names.items() if their != _TRAINED
    }
    if _TRAINED in names:
        beside = settings if _TRAINED in settings else rope  # theirs looks there first, too
        found[names[_TRAINED]] = beside.number(_TRAINED, settings.number("max_position_embeddings"))
    return kind(**found)


def their_rotary(position: RotaryPositionConfig) -> dict[str, Any]:
    """`rope_parameters` of rotary positions.

    Raises:
        UserError: a scaling that theirs lack.
    """
    data: dict[str, Any] = {"rope_theta": position.theta, "rope_type": "default"}
    if position.share != 1:
        data["partial_rotary_factor"] = position.share
    scaling = position.scaling
    if scaling is None:
        return data
    for name, (kind, names, _, _) in SCALINGS.items():
        if isinstance(scaling, kind):
            return data | {"rope_type": name} | {their: getattr(scaling, our) for their, our in names.items()}
    raise UserError(f"rotary scaling {scaling.kind!r} cannot be written in this layout")
