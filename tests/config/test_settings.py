"""The settings themselves: every field explained, sensible refusals, a schema that editors can use."""

from __future__ import annotations

from typing import Any

import pytest
import random_configs

import patchword.config
from patchword.config import (
    AugmentConfig,
    ConfigError,
    ImageConfig,
    RunConfig,
    SplitsConfig,
    json_schema,
    override,
    to_yaml,
)
from patchword.config.core import Config, field_types, is_family
from patchword.config.docs import field_docs
from patchword.models.presets import PRESETS, preset

CLASSES = random_configs.classes()


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_every_class_and_field_is_explained(cls: type[Config]) -> None:
    docs = field_docs(cls)
    assert list(docs) == list(field_types(cls))
    for name, text in docs.items():
        assert text.endswith((".", "?")), name
        assert "\n" not in text
    assert cls.__doc__
    assert not cls.__doc__.startswith(f"{cls.__name__}("), "the dataclass wrote that, nobody else"
    assert hasattr(patchword.config, cls.__name__)


@pytest.mark.parametrize("name", PRESETS)
def test_the_listing_has_a_comment_for_every_field(name: str) -> None:
    lines = to_yaml(preset(name)).splitlines()
    comments = [line for line in lines if line.lstrip().startswith("#")]
    names = {*preset(name).model.towers, *preset(name).model.heads}
    for before, line in zip(["", *lines], lines):
        key = line.strip().partition(":")[0]
        if not line.lstrip().startswith("#") and key not in names:
            assert before.lstrip().startswith("# "), line
            assert len(before) - len(before.lstrip()) == len(line) - len(line.lstrip())
    assert len(comments) > 100


def _refused(make: Any) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        make()
    return dict(caught.value.problems)


def test_fit_needs_room_for_a_multiple() -> None:
    for height, width in ((8, 64), (64, 8)):
        found = _refused(lambda h=height, w=width: ImageConfig(resize="fit", height=h, width=w, multiple=16))
        assert found == {"multiple": f"16 is more than a side of {height} x {width} pixels"}
    ImageConfig(resize="fit", height=16, width=64, multiple=16)
    ImageConfig(resize="crop", height=8, width=8, multiple=16)


def test_pictures_are_whole_patches() -> None:
    run = preset("captioner-tiny")
    patch = run.model.towers["image"].to_dict()["patch_size"][0]
    found = _refused(lambda: override(run, {"data.image.height": 3 * patch + 1, "data.image.width": patch - 1}))
    assert list(found) == ["data.image.height", "data.image.width"]
    found = _refused(lambda: override(run, {"data.image.resize": "fit", "data.image.multiple": patch // 2}))
    assert list(found) == ["data.image.multiple"]
    override(run, {"data.image.resize": "fit", "data.image.multiple": 2 * patch})


def test_a_stretch_needs_a_crop() -> None:
    assert list(_refused(lambda: AugmentConfig(ratio=1.3))) == ["ratio"]
    AugmentConfig(ratio=1.3, crop=0.5)
    AugmentConfig(crop=0.5)


def test_shares_of_the_whole() -> None:
    assert list(_refused(lambda: SplitsConfig(val=0.5, test=0.6))) == ["val"]
    assert SplitsConfig(val=0.0, test=1.0).test == 1.0
    assert SplitsConfig(val=0.5, test=0.5).val == 0.5


# ------------------------------------------------------------------ schema


def test_the_schema_describes_every_class() -> None:
    schema = json_schema(RunConfig)
    assert schema["$schema"].endswith("2020-12/schema")
    assert schema["title"] == "RunConfig"
    assert schema["$ref"] == "#/$defs/RunConfig"
    definitions = schema["$defs"]
    ours = [
        c for c in CLASSES if not is_family(c) or "kinds" in vars(c)
    ]  # a class between a family and its kinds is none
    assert set(definitions) >= {c.__name__ for c in ours}  # other tests add kinds of their own
    for cls in ours:
        entry = definitions[cls.__name__]
        if is_family(cls):
            assert entry["oneOf"][-1] == {"enum": sorted(cls.kinds)}
            assert {part["$ref"].split("/")[-1] for part in entry["oneOf"][:-1]} == {
                kind.__name__ for kind in cls.kinds.values()
            }
        else:
            assert entry["additionalProperties"] is False
            assert set(entry["properties"]) - {"kind"} == set(field_types(cls))
            assert all(entry["properties"][name]["description"] for name in field_types(cls))


def test_the_schema_states_types_and_limits() -> None:
    definitions = json_schema(RunConfig)["$defs"]
    train = definitions["TrainConfig"]["properties"]
    assert train["steps"]["type"] == "integer"
    assert train["steps"]["exclusiveMinimum"] == 0
    assert train["precision"]["enum"] == ["fp32", "bf16", "fp16"]
    assert {"type": "null"} in train["minutes"]["anyOf"]
    assert definitions["RunConfig"]["required"] == ["task", "model"]
    assert definitions["RMSNormConfig"]["properties"]["kind"] == {"const": "rmsnorm"}
    assert definitions["RMSNormConfig"]["required"] == ["kind"]
    stack = definitions["StackConfig"]["properties"]
    assert stack["attention"]["anyOf"] == [{"$ref": "#/$defs/AttentionConfig"}, {"type": "null"}]
    model = definitions["ModelConfig"]["properties"]
    assert model["towers"]["additionalProperties"] == {"$ref": "#/$defs/TowerConfig"}
