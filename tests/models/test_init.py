"""Initialisers have the statistics that they claim."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from patchword.config import (
    AttentionPoolConfig,
    CrossFusionConfig,
    ImageTowerConfig,
    InitConfig,
    LabelHeadConfig,
    LanguageHeadConfig,
    LearnedPositionConfig,
    ModelConfig,
    NormalInitConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    TextTowerConfig,
    TorchInitConfig,
    TruncatedNormalInitConfig,
    XavierInitConfig,
)
from patchword.models.create import create_model
from patchword.models.model import Model

BASE = ModelConfig(
    towers={
        "image": ImageTowerConfig(
            dim=128, depth=2, image_size=(64, 64), stem=(24, 96), position=LearnedPositionConfig()
        ),
        "text": TextTowerConfig(dim=128, depth=0, vocab_size=500, position=LearnedPositionConfig()),
    },
    fusion=CrossFusionConfig(),
    trunk=StackConfig(
        dim=128, depth=3, attention=SoftmaxAttentionConfig(causal=True), cross_attention=SoftmaxAttentionConfig()
    ),
    heads={"text": LanguageHeadConfig(), "label": LabelHeadConfig(num_classes=50, pool=AttentionPoolConfig())},
)


TABLE = "towers.text.embedding.table.weight"
EACH = pytest.mark.parametrize(
    "init", [NormalInitConfig(), XavierInitConfig(), TorchInitConfig(), TruncatedNormalInitConfig()]
)


def model(init: InitConfig, **changes: Any) -> Model:
    return create_model(BASE.replace(init=init, **changes))


def linears(part: nn.Module) -> dict[str, nn.Linear]:
    return {name: m for name, m in part.named_modules() if isinstance(m, nn.Linear)}


def std(weight: Tensor) -> Any:
    """Approximately its standard deviation: within five standard errors."""
    value = weight.std().item()
    return pytest.approx(value, rel=5 / math.sqrt(2 * weight.numel()))


def tied(name: str) -> bool:
    return name == "heads.text.proj"


@pytest.mark.parametrize("scaled", [True, False])
def test_normal(scaled: bool) -> None:
    made = model(NormalInitConfig(std=0.03, depth_scaled=scaled))
    steps = {"towers.image": 2 * 2, "trunk": 3 * 3}
    for name, layer in linears(made).items():
        ends = name.endswith(("out_proj", "down_proj")) and scaled
        count = next((n for prefix, n in steps.items() if name.startswith(prefix)), 1)
        assert std(layer.weight) == 0.03 / (math.sqrt(count) if ends else 1), name
        assert abs(layer.weight.mean().item()) < 5 * 0.03 / math.sqrt(layer.weight.numel()), name
        assert layer.bias is None or layer.bias.eq(0).all(), name


def test_truncated_normal() -> None:
    made = model(TruncatedNormalInitConfig(std=0.03))
    for name, layer in linears(made).items():
        assert layer.weight.abs().max() <= 0.06, name
        assert layer.weight.abs().max() > 0.055, name
        assert layer.weight.std().item() == pytest.approx(0.03 * 0.8796, rel=0.03), name  # the cut makes it narrower


def test_xavier() -> None:
    made = model(XavierInitConfig(gain=0.5))
    for name, layer in linears(made).items():
        bound = 0.5 * math.sqrt(6 / (layer.in_features + layer.out_features))
        assert layer.weight.abs().max().item() == pytest.approx(bound, rel=0.01), name
        assert std(layer.weight) == bound / math.sqrt(3), name
        assert layer.bias is None or layer.bias.eq(0).all(), name


def test_torch_leaves_what_torch_did() -> None:
    made = model(TorchInitConfig())
    for name, layer in linears(made).items():
        if not tied(name):
            assert std(layer.weight) == 1 / math.sqrt(3 * layer.in_features), name
            assert layer.bias is None or layer.bias.abs().max() > 0, name
    assert std(made.get_parameter(TABLE)) == 1.0


@EACH
def test_embeddings_have_their_own(init: InitConfig) -> None:
    made = model(init, embed_std=0.2)
    tables = {name: m for name, m in made.named_modules() if isinstance(m, nn.Embedding)}
    assert set(tables) == {
        "towers.text.embedding.table",
        "towers.text.stack.position.table",
        "towers.image.stack.position.table",
    }
    for name, table in tables.items():
        assert std(table.weight) == 0.2, name
    assert made.get_submodule("heads.text.proj").weight is tables["towers.text.embedding.table"].weight


@EACH
def test_norms_keep_their_start(init: InitConfig) -> None:
    for name, layer in model(init).named_modules():
        if isinstance(layer, nn.LayerNorm):
            assert layer.weight.eq(1).all(), name
            assert layer.bias.eq(0).all(), name


def test_one_seed_makes_one_model() -> None:
    states = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        states.append(model(NormalInitConfig()).state_dict())
    assert all(torch.equal(states[0][n], states[1][n]) for n in states[0])
    assert not torch.equal(states[0][TABLE], states[2][TABLE])
