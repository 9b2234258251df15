"""Step-by-step decoding gives what one pass over the whole text gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from toy_models import CAPTIONERS, VOCAB, build, close, image_names, pictures

from patchword.models.model import DecodeState, Model
from patchword.sequence import ImageInput, TextInput

LENGTH = 8
CHUNKS = ((1,) * LENGTH, (3, 1, 1, 1, 2), (5, 3))
EACH = pytest.mark.parametrize("name", CAPTIONERS)
STATIC = pytest.mark.parametrize("static", [False, True], ids=["growing", "static"])
SIZES = ((16, 16), (0, 0), (8, 4))


def last(model: Model, inputs: dict[str, Any], text: Any) -> Tensor:
    return model(inputs | {"text": text}).heads["text"][:, -1]


def texts(valid: Tensor | None, ids: Tensor, start: int, end: int) -> Any:
    return ids[:, start:end] if valid is None else TextInput(ids[:, start:end], valid[:, start:end])


@STATIC
@EACH
@torch.no_grad()
def test_steps_equal_one_pass(name: str, static: bool) -> None:
    model = build(CAPTIONERS[name])
    inputs: dict[str, Any] = {image: pictures(*SIZES) for image in image_names(CAPTIONERS[name])}
    ids = torch.randint(0, VOCAB, (3, LENGTH))
    left = torch.arange(LENGTH) >= torch.tensor([2, 0, 1])[:, None]
    for chunks in CHUNKS:
        for valid in (None, left) if chunks[0] > 1 else (None,):
            state, start = model.begin(inputs, LENGTH, static), 0
            for n in chunks:
                end = start + n
                got = model.step(texts(valid, ids, start, end), state, "text")
                close(got, last(model, inputs, texts(valid, ids, 0, end)))
                start = end


@STATIC
@EACH
@torch.no_grad()
def test_a_prompt_may_be_padded_once(name: str, static: bool) -> None:
    """The prompt says what is padding; what follows needs not say that it is real."""
    model = build(CAPTIONERS[name])
    inputs: dict[str, Any] = {image: pictures(*SIZES) for image in image_names(CAPTIONERS[name])}
    ids = torch.randint(0, VOCAB, (3, LENGTH))
    valid = torch.arange(LENGTH) >= torch.tensor([2, 0, 1])[:, None]
    state = model.begin(inputs, LENGTH, static)
    model.step(TextInput(ids[:, :4], valid[:, :4]), state, "text")
    for end in range(5, LENGTH + 1):
        got = model.step(ids[:, end - 1 : end], state, "text")
        close(got, last(model, inputs, TextInput(ids[:, :end], valid[:, :end])))


@STATIC
@EACH
@torch.no_grad()
def test_beams_part_and_swap(name: str, static: bool) -> None:
    """Two samples become three beams each; beams then trade places within their sample."""
    model = build(CAPTIONERS[name])
    inputs: dict[str, Any] = {image: pictures((16, 16), (8, 4)) for image in image_names(CAPTIONERS[name])}
    ids = torch.randint(0, VOCAB, (2, 3))
    state = model.begin(inputs, LENGTH, static)
    model.step(ids, state, "text")
    said = ids
    for order in ([0, 0, 0, 1, 1, 1], [2, 0, 0, 3, 5, 4], [0, 1, 2, 4, 4, 4]):
        rows = torch.tensor(order)
        state.select(rows)
        said = torch.cat([said[rows], torch.randint(0, VOCAB, (6, 1))], 1)
        got = model.step(said[:, -1:], state, "text")
        wide = {
            image: ImageInput(*(part.repeat_interleave(3, 0) for part in given if part is not None))
            for image, given in inputs.items()
        }
        close(got, last(model, wide, said))


@EACH
@torch.no_grad()
def test_steps_without_any_picture(name: str) -> None:
    model = build(CAPTIONERS[name])
    images = image_names(CAPTIONERS[name])
    inputs: dict[str, Any] = {image: pictures((0, 0), (0, 0)) for image in images}
    ids = torch.randint(0, VOCAB, (2, 4))
    state = model.begin(inputs, 4)
    for end in range(1, 5):
        got = model.step(ids[:, end - 1 : end], state, "text")
        close(got, last(model, {}, ids[:, :end]))


@torch.no_grad()
def test_what_is_read_once_is_not_read_again() -> None:
    """The picture goes through its tower when decoding begins, and never after."""
    config = CAPTIONERS["captioner-tiny"]
    model, calls = build(config), []
    for part in ("towers.image", "trunk.blocks.0.cross_attn.step.k_proj"):
        model.get_submodule(part).register_forward_hook(lambda *_, part=part: calls.append(part))
    state: DecodeState = model.begin({"image": pictures((16, 16))}, 6)
    for _ in range(6):
        model.step(torch.randint(0, VOCAB, (1, 1)), state, "text")
    assert calls == ["towers.image", "trunk.blocks.0.cross_attn.step.k_proj"]


@torch.no_grad()
def test_a_state_holds_no_more_than_it_was_made_for() -> None:
    model = build(CAPTIONERS["captioner-tiny"])
    state = model.begin({"image": pictures((16, 16))}, 3)
    model.step(torch.zeros(1, 3, dtype=torch.long), state, "text")
    with pytest.raises(ValueError, match="the cache was made for 3 tokens, 4 are needed"):
        model.step(torch.zeros(1, 1, dtype=torch.long), state, "text")
