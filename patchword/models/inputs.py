"""Inputs by the words of system 003, for who comes from there: a text and a picture's features, each with a mask."""

from __future__ import annotations

import torch
from torch import Tensor

from patchword.config import UserError
from patchword.sequence import FeaturesInput, TextInput, can_look


def inputs_from(
    text_inputs: Tensor | None = None,
    text_attention_mask: Tensor | None = None,
    image_features: Tensor | None = None,
    image_attention_mask: Tensor | None = None,
) -> dict[str, TextInput | FeaturesInput]:
    """What a model with the towers `text` (of kind text) and `image` (of kind features) is called with.

    `model(inputs_from(text_inputs=ids, text_attention_mask=mask, image_features=x, image_attention_mask=m))`

    Args:
        text_inputs: token ids, int [B, T]; None: there is no text.
        text_attention_mask: [B, T], 1 or True where a token is real; None: all are.
        image_features: vectors of pictures, [B, N, F]; None: there are no pictures.
        image_attention_mask: [B, N], 1 or True where a vector is real; None: all are.

    Raises:
        UserError: a mask without its input, of another shape, or with other values; or nothing at all.
    """
    made: dict[str, TextInput | FeaturesInput] = {}
    for name, mask, given in (
        ("text_attention_mask", text_attention_mask, text_inputs),
        ("image_attention_mask", image_attention_mask, image_features),
    ):
        if mask is not None and given is None:
            raise UserError(f"{name} is given without what it is of")
    if text_inputs is not None:
        made["text"] = TextInput(text_inputs, _valid("text_attention_mask", text_attention_mask, text_inputs))
    if image_features is not None:
        valid = _valid("image_attention_mask", image_attention_mask, image_features)
        made["image"] = FeaturesInput(image_features, valid)
    if not made:
        raise UserError("nothing to read: give text_inputs, image_features, or both")
    return made


def _valid(name: str, mask: Tensor | None, given: Tensor) -> Tensor | None:
    """A mask of ones and zeros as booleans."""
    if mask is None:
        return None
    if mask.shape != given.shape[:2]:
        raise UserError(f"{name} should be {list(given.shape[:2])}, got {list(mask.shape)}")
    if mask.dtype != torch.bool and can_look(mask) and not ((mask == 0) | (mask == 1)).all():
        raise UserError(f"{name} should be 1 where something is real and 0 elsewhere; no score is added")
    return mask != 0
