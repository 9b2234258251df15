"""Where a model looks: the maps of the report, against the weights of each block laid out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from toy_models import CAPTIONERS, build, close, image_names, sample

from patchword.config import ImageTowerConfig
from patchword.models.inspect import picture_attention
from patchword.models.model import Model

ROWS, COLUMNS, LENGTH = 4, 3, 7


def inputs_for(name: str) -> dict[str, Any]:
    return sample(CAPTIONERS[name], (16, 12), (16, 12), length=LENGTH)


def weights_of_blocks(model: Model, inputs: dict[str, Any]) -> Tensor:
    """The mean over blocks and heads of all attention to where the pictures are; [B, T, S]."""
    seen: list[Tensor] = []
    assert model.trunk is not None
    for block in model.trunk.blocks:
        residual: Any = block.cross_attn if block.cross_attn is not None else block.self_attn
        layer = residual.step
        layer.register_forward_pre_hook(lambda layer, args: seen.append(layer.weights(*args[:2]).mean(1)))
    model(inputs)
    return torch.stack(seen).mean(0)


SHOWING = [name for name, config in CAPTIONERS.items() if getattr(config.fusion, "summary", 0) is None]


@pytest.mark.parametrize("name", sorted(set(CAPTIONERS) - set(SHOWING)))
def test_there_are_no_maps_where_the_trunk_sees_no_patches(name: str) -> None:
    assert picture_attention(build(CAPTIONERS[name]), inputs_for(name), "image") is None


def maps_of(model: Model, inputs: dict[str, Any], image: str) -> Tensor:
    maps = picture_attention(model, inputs, image)
    assert maps is not None
    return maps


@pytest.mark.parametrize("name", SHOWING)
@torch.no_grad()
def test_maps_are_the_weights_laid_out(name: str) -> None:
    config, inputs = CAPTIONERS[name], inputs_for(name)
    weights, start = weights_of_blocks(build(config), inputs), 0
    for image in image_names(config):
        tower = config.towers[image]
        assert isinstance(tower, ImageTowerConfig)
        start += tower.cls_token
        want = weights[:, -LENGTH:, start : start + ROWS * COLUMNS].view(2, LENGTH, ROWS, COLUMNS)
        close(maps_of(build(config), inputs, image), want)
        start += ROWS * COLUMNS


@pytest.mark.parametrize("name", SHOWING)
def test_maps_are_shares_and_blind_to_the_future(name: str) -> None:
    config, inputs = CAPTIONERS[name], inputs_for(name)
    model, images = build(config), image_names(config)
    maps = maps_of(model, inputs, images[0])
    total = maps.sum((2, 3))
    assert (maps >= 0).all()
    assert (total <= 1 + 1e-9).all()
    tower = config.towers[images[0]]
    assert config.trunk is not None
    assert isinstance(tower, ImageTowerConfig)
    if config.trunk.cross_attention is not None and len(images) == 1 and not tower.cls_token:
        close(total, torch.ones_like(total))
    changed = inputs | {"text": inputs["text"].clone()}
    changed["text"][:, 4:] = 1
    close(maps_of(model, changed, images[0])[:, :4], maps[:, :4])


def test_no_hook_stays() -> None:
    model = build(CAPTIONERS["captioner-tiny"])
    picture_attention(model, inputs_for("captioner-tiny"), "image")
    assert not any(module._forward_pre_hooks for module in model.modules())
