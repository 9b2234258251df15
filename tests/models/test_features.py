"""A tower that reads vectors made elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from patchword.config import (
    ConfigError,
    FeaturesTowerConfig,
    LabelHeadConfig,
    LearnedPositionConfig,
    MeanPoolConfig,
    ModelConfig,
    RereadFusionConfig,
    StackConfig,
    TextTowerConfig,
    UserError,
)
from patchword.data.batch import Batch
from patchword.models.model import Model, count_parameters
from patchword.sequence import FeaturesInput, TextInput
from patchword.testing import randomise

DIM, WIDTH, MOST = 8, 5, 7
TOWER = FeaturesTowerConfig(dim=DIM, depth=1, max_len=MOST, in_dim=WIDTH, position=LearnedPositionConfig())


def built(tower: FeaturesTowerConfig, beside: bool = False) -> Model:
    """A model of features alone, or beside a text."""
    towers: dict[str, Any] = {"seen": tower} | (
        {"text": TextTowerConfig(dim=DIM, depth=1, vocab_size=9)} if beside else {}
    )
    head = LabelHeadConfig(source="trunk" if beside else "seen", num_classes=3, pool=MeanPoolConfig())
    config = ModelConfig(
        towers=towers,
        fusion=RereadFusionConfig() if beside else None,
        trunk=StackConfig(dim=DIM, depth=0) if beside else None,
        heads={"label": head},
    )
    model: Model = config.build()
    randomise(model, torch.Generator().manual_seed(3))
    return model.double().eval()


def tokens(model: Model, raw: FeaturesInput | Tensor) -> Tensor:
    return model({"seen": raw}).towers["seen"].x


@torch.no_grad()
def test_vectors_are_mapped_normed_and_placed() -> None:
    """Against the arithmetic, with no block: map, norm, one learned vector a place."""
    model = built(TOWER.replace(depth=0, embed_norm=True))
    state, x = model.state_dict(), torch.randn(2, 4, WIDTH, dtype=torch.float64)
    at = "towers.seen.embedding"
    mapped = x @ state[f"{at}.proj.weight"].mT + state[f"{at}.proj.bias"]
    want = torch.nn.functional.layer_norm(mapped, (DIM,), state[f"{at}.norm.weight"], state[f"{at}.norm.bias"])
    want = want + state["towers.seen.stack.position.table.weight"][:4]
    torch.testing.assert_close(tokens(model, x), want)


@torch.no_grad()
def test_without_a_width_of_their_own_there_is_no_map() -> None:
    plain = TOWER.replace(in_dim=None, depth=0, position=LearnedPositionConfig())
    model, x = built(plain), torch.randn(2, 4, DIM, dtype=torch.float64)
    torch.testing.assert_close(tokens(model, x), x + model.state_dict()["towers.seen.stack.position.table.weight"][:4])
    assert count_parameters(built(TOWER)) - count_parameters(built(TOWER.replace(in_dim=None))) == WIDTH * DIM + DIM


@pytest.mark.parametrize("junk", [0.0, 7.0, float("nan"), float("inf")])
@pytest.mark.parametrize("before", [0, 2])
def test_padding_changes_nothing(before: int, junk: float) -> None:
    """On either side, whatever stands there; gradients stay finite, too."""
    model, x = built(TOWER), torch.randn(2, 4, WIDTH, dtype=torch.float64)
    want = model({"seen": x})
    padded = torch.full((2, 7, WIDTH), junk, dtype=torch.float64)
    padded[:, before : before + 4] = x
    valid = torch.zeros(2, 7, dtype=torch.bool)
    valid[:, before : before + 4] = True
    got = model({"seen": FeaturesInput(padded, valid)})
    torch.testing.assert_close(got.towers["seen"].x[:, before : before + 4], want.towers["seen"].x)
    torch.testing.assert_close(got.heads["label"], want.heads["label"])
    got.heads["label"].square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("rows", [[True, False], [False, False]])
def test_samples_without_vectors(rows: list[bool]) -> None:
    """Beside a text they say nothing of: the text's own result, and no NaN."""
    model = built(TOWER, beside=True)
    ids = torch.randint(0, 9, (2, 3))
    valid = torch.tensor(rows)[:, None].expand(2, 4).clone()
    out = model({"seen": FeaturesInput(torch.randn(2, 4, WIDTH, dtype=torch.float64), valid), "text": TextInput(ids)})
    alone = model({"text": ids})
    for row, real in enumerate(rows):
        assert torch.allclose(out.heads["label"][row], alone.heads["label"][row]) != real
    out.heads["label"].sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("batch", [0, 1, 3])
def test_no_vectors_and_no_samples(batch: int) -> None:
    model = built(TOWER, beside=True)
    assert model({"seen": torch.zeros(batch, 0, WIDTH, dtype=torch.float64)}).heads["label"].shape == (batch, 3)
    assert model({"text": torch.zeros(batch, 2, dtype=torch.long)}).heads["label"].isfinite().all()


def test_numbers_of_another_type_become_the_models() -> None:
    model, x = built(TOWER.replace(in_dim=None)), torch.randn(1, 3, DIM, dtype=torch.float16)
    torch.testing.assert_close(tokens(model, x), tokens(model, x.double()))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (torch.zeros(2, 3, WIDTH + 1), rf"should be \[B, N, {WIDTH}\], got \[2, 3, {WIDTH + 1}\]"),
        (torch.zeros(2, WIDTH), rf"should be \[B, N, {WIDTH}\]"),
        (FeaturesInput(torch.zeros(2, 3, WIDTH), torch.ones(2, 4, dtype=torch.bool)), r"validity of \[2, 3\]"),
        (torch.zeros(1, MOST + 1, WIDTH), "made for 7 places, 8 are needed"),
    ],
)
def test_what_does_not_fit_is_refused(raw: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        built(TOWER)({"seen": raw})


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="in_dim"):
        FeaturesTowerConfig(in_dim=0)


def test_a_batch_takes_them_along() -> None:
    valid = torch.ones(1, 2, dtype=torch.bool)
    moved = Batch({"seen": FeaturesInput(torch.ones(1, 2, 3), valid), "text": TextInput(valid.long())}, {}, ("a",))
    there = moved.to("meta").inputs
    assert isinstance(there["seen"], FeaturesInput)
    assert [t.device.type for part in there.values() for t in part if t is not None] == ["meta"] * 3
