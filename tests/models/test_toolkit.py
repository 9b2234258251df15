"""System 003's base model: its file, its words, its numbers of parameters."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import patchword
from patchword.cli import main
from patchword.config import ConfigError, ModelConfig, UserError, override, to_json
from patchword.models.create import create_model
from patchword.models.model import Model, count_parameters
from patchword.models.presets import files, toolkit
from patchword.sequence import FeaturesInput, TextInput
from patchword.testing import randomise

NAME = "configs/base_text_image_model.json"
SMALL: dict[str, Any] = {
    f"model.{part}": value
    for tower in ("text", "image")
    for part, value in {f"{tower}.dim": 24, f"{tower}.depth": 1, f"{tower}.ffn.hidden_dim": 16}.items()
} | {
    "model.text.vocab_size": 50,
    "model.text.max_len": 12,
    "model.image.max_len": 9,
    "model.trunk.dim": 24,
    "model.fusion.layers.ffn.hidden_dim": 16,
}


def small() -> Model:
    model = create_model(NAME, **SMALL)
    randomise(model, torch.Generator().manual_seed(1))
    return model.double().eval()


# ------------------------------------------------------------------ the file


@pytest.mark.parametrize("spec", [NAME, Path(NAME)], ids=["text", "path"])
def test_the_file_is_found_wherever_one_stands(spec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with torch.device("meta"):
        assert create_model(spec).config == toolkit.base_model(toolkit.feature_encoder())


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    shallow = override(toolkit.base_model(toolkit.feature_encoder()), {"text.depth": 3})
    Path(NAME).write_text(to_json(shallow))
    with torch.device("meta"):
        assert create_model(NAME).config.towers["text"].depth == 3


def test_its_round_trip_is_the_identity() -> None:
    """What is shipped says what Python says; written out and read back it is the same."""
    assert files.shipped() == [NAME]
    path = files.configuration_file(NAME)
    assert path is not None
    model = ModelConfig.from_dict(json.loads(path.read_text(encoding="utf-8")))
    assert model == toolkit.base_model(toolkit.feature_encoder())
    assert ModelConfig.from_dict(json.loads(to_json(model))) == model


def test_a_model_alone_is_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", NAME]) == 2
    assert "holds a model without a task" in capsys.readouterr().err


def test_mistakes_in_a_model_file_are_named(tmp_path: Path) -> None:
    data = toolkit.base_model(toolkit.feature_encoder()).to_dict()
    data["towers"]["image"]["in_dims"] = 3
    data["pooling_type"] = "mean"
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(data))
    with pytest.raises(
        ConfigError, match=r"(?s)wrong\.json.*towers\.image\.in_dims.*did you mean 'in_dim'.*pooling_type"
    ):
        create_model(wrong)
    with pytest.raises(UserError, match=r"cannot read configuration configs/none\.json"):
        create_model("configs/none.json")


# ------------------------------------------------------------------ its words


@torch.no_grad()
def test_the_words_of_its_page() -> None:
    model = small()
    text_inputs, image_features = torch.randint(0, 50, (2, 7)), torch.randn(2, 9, 24, dtype=torch.float64)
    text_attention_mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    image_attention_mask = torch.tensor([[1.0] * 9, [1.0] * 5 + [0.0] * 4])
    outputs = model(
        text_inputs=text_inputs,
        text_attention_mask=text_attention_mask,
        image_features=image_features,
        image_attention_mask=image_attention_mask,
    )
    same = model(
        {
            "text": TextInput(text_inputs, text_attention_mask.bool()),
            "image": FeaturesInput(image_features, image_attention_mask.bool()),
        }
    )
    assert outputs.heads.keys() == {"text", "image", "answer"}
    assert outputs.heads["answer"].shape == (2, 3000)
    for name, scores in outputs.heads.items():
        assert torch.equal(scores, same.heads[name])
    short = model(patchword.inputs_from(text_inputs[1:, :4], None, image_features[1:, :5]))
    torch.testing.assert_close(outputs.heads["answer"][1:], short.heads["answer"])
    with pytest.raises(ValueError, match="not both"):
        model({"text": text_inputs}, image_features=image_features)


def test_either_may_be_left_out() -> None:
    assert patchword.inputs_from(text_inputs=torch.ones(1, 2)).keys() == {"text"}
    assert patchword.inputs_from(image_features=torch.ones(1, 2, 3)).keys() == {"image"}


IDS, X = torch.ones(1, 2), torch.ones(1, 2, 3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "nothing to read"),
        ({"text_attention_mask": IDS, "image_features": X}, "text_attention_mask is given"),
        ({"text_inputs": IDS, "text_attention_mask": torch.ones(1, 3)}, r"should be \[1, 2\], got \[1, 3\]"),
        ({"image_features": X, "image_attention_mask": torch.tensor([[0.0, -1e9]])}, "no score is added"),
    ],
)
def test_masks_that_say_nothing_are_refused(given: dict[str, Tensor], message: str) -> None:
    with pytest.raises(UserError, match=message):
        patchword.inputs_from(**given)


# ------------------------------------------------------------------ its numbers

COUNTS: dict[str, tuple[Callable[[Model], nn.Module], int]] = {
    "one layer": (lambda m: m.get_submodule("towers.text.stack.blocks.0"), 7_087_872),
    "twelve layers": (lambda m: m.get_submodule("towers.image.stack.blocks"), 85_054_464),
    "text": (lambda m: m.get_submodule("towers.text"), 108_890_112),
    "image": (lambda m: m.get_submodule("towers.image"), 85_498_368),
    "fusion": (lambda m: m.get_submodule("fusion"), 23_628_288),
    "pool": (lambda m: m.get_submodule("heads.answer.pool"), 1_772_544),
    "answers": (lambda m: m.get_submodule("heads.answer.proj"), 3000 * 769),
    "all": (lambda m: m, 225_641_400),
}


@pytest.fixture(scope="module")
def base() -> Model:
    with torch.device("meta"):
        return create_model(NAME)


@pytest.mark.parametrize("part", COUNTS)
def test_counts(base: Model, part: str) -> None:
    find, want = COUNTS[part]
    assert count_parameters(find(base)) == want


def test_sizing_counts_the_same(base: Model) -> None:
    """Analysis and instantiation agree, part by part; a vector as wide as tokens needs no map."""
    inputs = {"text": torch.zeros(1, 512, dtype=torch.long), "image": torch.zeros(1, 576, 768)}
    found = patchword.size(base, mode="inference", inputs=[inputs])
    counted = {part.name: part.parameters for part in found.components}
    assert found.total.parameters == COUNTS["all"][1]
    assert {name: number for name, number in counted.items() if number} == {
        "towers.text": 108_890_112,
        "towers.image": 85_498_368,
        "fusion.stack": 23_628_288,
        "heads.text": 1_772_544,
        "heads.image": 1_772_544,
        "heads.answer": 1_772_544 + 3000 * 769,
    }


def test_pictures_need_a_map_and_may_have_a_cls_token() -> None:
    with torch.device("meta"):
        pixels = count_parameters(toolkit.picture_encoder().build())
        cls = count_parameters(toolkit.picture_encoder().replace(cls_token=True).build())
    assert pixels == 85_498_368 + 590_592
    assert cls == pixels + 768 + 768  # the token, and its row in the table of places


PLANNED = {
    "ref/003-base": 108_890_112 + 86_088_960 + 23_628_288 + 1_772_544 + 2 * 769,
    "ref/003-retrieval": 108_890_112 + 86_088_960 + 2 * 1_772_544 + 1,
    # a table and 50 places; twelve layers that also look at the picture, with one more norm each; the last norm
    "ref/003-captioning": 86_088_960 + (30_522 + 50) * 768 + 85_054_464 + 12 * (2_362_368 + 1_536) + 1_536,
}


@pytest.mark.parametrize("name", PLANNED)
def test_presets_are_made_of_the_same_parts(name: str) -> None:
    with torch.device("meta"):
        assert count_parameters(create_model(name)) == PLANNED[name]
    assert patchword.size(name, batch=1, mode="inference").total.parameters == PLANNED[name]


def test_a_preset_with_three_thousand_answers() -> None:
    with torch.device("meta"):
        model = create_model("ref/003-base", **{"model.heads.answer.num_classes": 3000})
    assert count_parameters(model.get_submodule("heads.answer.proj")) == 3000 * 769
