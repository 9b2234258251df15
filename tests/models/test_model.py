"""Models of every topology: shapes, saved weights, pictures of any size, texts with padding, missing modalities."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from toy_models import CAPTIONERS, MODELS, SPEAKERS, VOCAB, build, close, image_names, pictures, sample, small

from patchword.config import ImageTowerConfig, LanguageHeadConfig, ModelConfig
from patchword.models.create import create_model
from patchword.models.model import Model, count_parameters, tied_names
from patchword.sequence import ImageInput, TextInput

SIZES = ((16, 16), (8, 12), (4, 4))
EACH = pytest.mark.parametrize("name", MODELS)
EACH_CAPTIONER = pytest.mark.parametrize("name", CAPTIONERS)


def rows(value: Any, index: slice) -> Any:
    if isinstance(value, Tensor):
        return value[index]
    return type(value)(*(None if part is None else part[index] for part in value))


def compare(got: dict[str, Tensor], want: dict[str, Tensor], real: Tensor | None = None) -> None:
    assert set(got) == set(want)
    for name, value in want.items():
        if real is not None and value.ndim == 3:
            close(got[name][real], value[real])
        else:
            close(got[name], value)


@pytest.mark.parametrize("name", SPEAKERS)
def test_preset_at_toy_size(name: str) -> None:
    model = create_model(small(name)).eval()
    pixels = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    out = model({"image": pixels, "text": torch.randint(0, VOCAB, (2, 5))})
    assert out.heads["text"].shape == (2, 5, VOCAB)
    assert out.trunk is not None
    assert out.trunk.x.shape == (2, 5, 24)
    image = model.config.towers["image"]
    assert isinstance(image, ImageTowerConfig)
    assert out.towers["image"].x.shape == (2, 16 + image.cls_token, 24)
    assert out.towers["text"].x.shape == (2, 5, 24)
    assert out.heads["text"].isfinite().all()
    assert count_parameters(model) == sum(p.numel() for p in set(model.parameters()))


@EACH
@torch.no_grad()
def test_saved_weights_give_the_same_model(name: str) -> None:
    model = build(MODELS[name])
    again = ModelConfig.from_dict(MODELS[name].to_dict()).build().double().eval()
    inputs = sample(MODELS[name], *SIZES)
    assert set(model.state_dict()) == set(again.state_dict())
    tied = tied_names(model)
    head = model.config.heads.get("text")
    ties = isinstance(head, LanguageHeadConfig) and head.tied
    assert tied == ({"heads.text.proj.weight": "towers.text.embedding.table.weight"} if ties else {})
    again.load_state_dict({n: w.clone() for n, w in model.state_dict().items() if n not in tied}, strict=False)
    compare(again(inputs).heads, model(inputs).heads)
    again.load_state_dict(model.state_dict())
    compare(again(inputs).heads, model(inputs).heads)


@EACH
@torch.no_grad()
def test_only_the_heads_that_are_wanted_are_read(name: str) -> None:
    model, inputs = build(MODELS[name]), sample(MODELS[name], *SIZES)
    every = model(inputs).heads
    assert model(inputs, heads=()).heads == {}
    last = list(every)[-1]
    compare(model(inputs, heads=[last]).heads, {last: every[last]})


@EACH
@torch.no_grad()
def test_pictures_of_mixed_sizes_equal_single_ones(name: str) -> None:
    model = build(MODELS[name])
    inputs = sample(MODELS[name], *SIZES)
    together = model(inputs).heads
    for i, (high, wide) in enumerate(SIZES):
        alone: dict[str, Any] = {"text": inputs["text"][i : i + 1]}
        for image in image_names(MODELS[name]):
            alone[image] = inputs[image].pixels[i : i + 1, :, :high, :wide]  # no canvas beside it, and no size
        compare({head: value[i : i + 1] for head, value in together.items()}, model(alone).heads)


@EACH
@torch.no_grad()
def test_the_canvas_changes_nothing(name: str) -> None:
    model = build(MODELS[name])
    inputs = sample(MODELS[name], *SIZES)
    want = model(inputs).heads
    wider = dict(inputs)
    for image in image_names(MODELS[name]):
        pixels = torch.rand(3, 3, 24, 20, dtype=torch.float64)
        pixels[:, :, :16, :16] = inputs[image].pixels
        for i, (high, wide) in enumerate(SIZES):  # also what stood beside a picture on the old canvas
            fresh = torch.rand(3, 24, 20, dtype=torch.float64)
            fresh[:, :high, :wide] = pixels[i, :, :high, :wide]
            pixels[i] = fresh
        wider[image] = ImageInput(pixels, inputs[image].size)
    compare(model(wider).heads, want)


@EACH
@torch.no_grad()
def test_padded_texts_equal_single_ones(name: str) -> None:
    model, sizes = build(MODELS[name]), ((16, 16), (8, 12), (16, 4))
    inputs = sample(MODELS[name], *sizes)
    lengths = (7, 4, 1)
    for side in ("left", "right"):
        places = torch.arange(7)
        starts = torch.tensor([7 - n if side == "left" else 0 for n in lengths])[:, None]
        valid = (places >= starts) & (places < starts + torch.tensor(lengths)[:, None])
        together = model(inputs | {"text": TextInput(inputs["text"], valid)}).heads
        for i in range(3):
            alone = {key: rows(value, slice(i, i + 1)) for key, value in inputs.items()}
            alone["text"] = inputs["text"][i : i + 1, valid[i]]
            got = {k: v[i : i + 1, valid[i]] if v.ndim == 3 else v[i : i + 1] for k, v in together.items()}
            compare(got, model(alone).heads)


@EACH_CAPTIONER
@torch.no_grad()
def test_a_text_tells_nothing_before_it_is_read(name: str) -> None:
    model = build(CAPTIONERS[name])
    inputs = sample(CAPTIONERS[name], *SIZES)
    want = model(inputs).heads["text"]
    changed = inputs["text"].clone()
    changed[:, 4:] = (changed[:, 4:] + 1) % VOCAB
    got = model(inputs | {"text": changed}).heads["text"]
    close(got[:, :4], want[:, :4])
    assert (got[:, 4:] - want[:, 4:]).abs().amax((1, 2)).min() > 1e-4


@EACH_CAPTIONER
@torch.no_grad()
def test_every_patch_is_seen_from_the_first_word(name: str) -> None:
    model = build(CAPTIONERS[name])
    inputs = sample(CAPTIONERS[name], (16, 8))
    want = model(inputs).heads["text"][:, 0]
    for image in image_names(CAPTIONERS[name]):
        for top, left in itertools.product(range(0, 16, 4), range(0, 8, 4)):
            pixels = inputs[image].pixels.clone()
            pixels[:, :, top : top + 4, left : left + 4] = torch.rand(1, 3, 4, 4, dtype=torch.float64)
            got = model(inputs | {image: ImageInput(pixels, inputs[image].size)}).heads["text"][:, 0]
            assert (got - want).abs().max() > 1e-6, f"{image}: patch at {top}, {left} is not seen"


def backward(model: Model, inputs: dict[str, Any]) -> None:
    model.zero_grad()
    out = model(inputs)
    total = sum(value.square().sum() for value in out.heads.values())
    assert isinstance(total, Tensor)
    total.backward()
    assert total.isfinite()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@EACH
def test_samples_without_a_picture_are_like_padding(name: str) -> None:
    """Mixed batches, batches without pictures, and pictures left out: finite, whole gradients, one result."""
    config = MODELS[name]
    model = build(config)
    mixed = sample(config, (8, 8), (0, 0), (4, 16))
    backward(model, mixed)
    want = model(mixed).heads
    text = mixed["text"]
    none = {image: pictures((0, 0), (0, 0), (0, 0)) for image in image_names(config)}
    canvas = {image: pictures((0, 0), (0, 0), (0, 0), canvas=(8, 12)) for image in image_names(config)}
    for inputs in ({"text": text}, {"text": text} | none, {"text": text} | canvas):
        backward(model, inputs)
        got = model(inputs).heads
        compare({k: v[1:2] for k, v in got.items()}, {k: v[1:2] for k, v in want.items()})


@EACH
def test_any_subset_of_the_modalities(name: str) -> None:
    config = MODELS[name]
    model, inputs = build(config), sample(config, (8, 8), (4, 16))
    for count in range(1, len(inputs) + 1):
        for subset in itertools.combinations(inputs, count):
            backward(model, {key: inputs[key] for key in subset})
    with pytest.raises(ValueError, match="no input: give at least one of"):
        model({})


@EACH
@torch.no_grad()
def test_no_samples_at_all(name: str) -> None:
    config = MODELS[name]
    model = build(config)
    inputs: dict[str, Any] = {n: torch.zeros(0, 3, 8, 8) for n in image_names(config)}
    out = model(inputs | {"text": torch.zeros(0, 4, dtype=torch.long)}).heads
    full = model(sample(config, (8, 8), length=4)).heads
    assert {k: v.shape[1:] for k, v in out.items()} == {k: v.shape[1:] for k, v in full.items()}
    assert all(len(value) == 0 for value in out.values())


def test_an_input_for_no_tower_is_refused() -> None:
    model = build(CAPTIONERS["captioner-tiny"])
    with pytest.raises(ValueError, match="unknown tower 'imag'; did you mean 'image'"):
        model({"imag": torch.rand(1, 3, 8, 8), "text": torch.zeros(1, 2, dtype=torch.long)})
