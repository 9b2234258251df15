"""How a token knows where it stands: one file a kind. Importing this gives every kind of setting its class."""

from patchword.nn.positions import alibi, learned, per_modality, relative_bias, relative_key, rotary, sinusoidal
from patchword.nn.positions.base import ANYWHERE, Bias, Constant, Heads, Places, Position, Rotation, Turn, places_of
from patchword.nn.positions.waves import angles

__all__ = [
    "ANYWHERE",
    "Bias",
    "Constant",
    "Heads",
    "Places",
    "Position",
    "Rotation",
    "Turn",
    "alibi",
    "angles",
    "learned",
    "per_modality",
    "places_of",
    "relative_bias",
    "relative_key",
    "rotary",
    "sinusoidal",
]
