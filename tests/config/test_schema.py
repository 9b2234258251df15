"""The schema against whole configurations, by a small validator of the words of JSON Schema that it uses."""

from __future__ import annotations

import operator
import random
import re
from typing import Any

import pytest
import random_configs

from patchword.config import ConfigError, RunConfig, UserError, json_schema
from patchword.models.presets import PRESETS, load_config, preset

SCHEMA: dict[str, Any] = {}
TYPES: dict[str, Any] = {
    "object": dict, "array": list, "string": str, "integer": int, "boolean": bool,
    "null": type(None),
}  # fmt: skip
LIMITS = {
    "minimum": operator.ge, "exclusiveMinimum": operator.gt, "maximum": operator.le, "exclusiveMaximum": operator.lt,
    "multipleOf": lambda value, step: value % step == 0,
}  # fmt: skip
KNOWN = {
    "$schema", "$ref", "$defs", "title", "description", "type", "enum", "const", "oneOf", "anyOf", "properties",
    "required", "additionalProperties", "patternProperties", "items", "prefixItems", "minItems", "maxItems",
    "if", "then", "else", *LIMITS,
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _schema() -> None:
    """Made when the tests run: by then other files may have added kinds of their own."""
    SCHEMA.update(json_schema(RunConfig, PRESETS))


def accepts(schema: dict[str, Any] | bool, value: Any) -> bool:
    """Whether a value is valid; raises on a word of JSON Schema that this does not know."""
    if isinstance(schema, bool):
        return schema
    assert set(schema) <= KNOWN, set(schema) - KNOWN
    if "$ref" in schema and not accepts(SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")], value):
        return False
    number = isinstance(value, int | float) and not isinstance(value, bool)
    wanted = schema.get("type")
    return (
        ("if" not in schema or accepts(schema["then" if accepts(schema["if"], value) else "else"], value))
        and ("oneOf" not in schema or sum(accepts(option, value) for option in schema["oneOf"]) == 1)
        and ("anyOf" not in schema or any(accepts(option, value) for option in schema["anyOf"]))
        and ("enum" not in schema or value in schema["enum"])
        and ("const" not in schema or value == schema["const"])
        and (wanted is None or (number if wanted == "number" else isinstance(value, TYPES[wanted])))
        and (wanted != "integer" or number)
        and all(not number or word not in schema or holds(value, schema[word]) for word, holds in LIMITS.items())
        and (not isinstance(value, dict) or _accepts_object(schema, value))
        and (not isinstance(value, list) or _accepts_array(schema, value))
    )


def _accepts_object(schema: dict[str, Any], value: dict[str, Any]) -> bool:
    if not set(schema.get("required", ())) <= set(value):
        return False
    return all(accepts(rule, v) for k, v in value.items() for rule in _rules(schema, k))


def _rules(schema: dict[str, Any], key: str) -> list[Any]:
    """What the value of a key has to follow; False is followed by nothing."""
    known = schema.get("properties", {})
    found = [known[key]] if key in known else []
    found += [rule for pattern, rule in schema.get("patternProperties", {}).items() if re.search(pattern, key)]
    return found or [schema.get("additionalProperties", {})]


def _accepts_array(schema: dict[str, Any], value: list[Any]) -> bool:
    first = schema.get("prefixItems", [])
    rest = [accepts(schema.get("items", {}), item) for item in value[len(first) :]]
    enough = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
    return enough and all(rest) and all(map(accepts, first, value))


def _objects(data: Any) -> list[dict[str, Any]]:
    """Every mapping of settings within (not the mappings of names, which take any key)."""
    if not isinstance(data, dict):
        return []
    inner = [found for value in data.values() for found in _objects(value)]
    free = all(isinstance(value, dict) and "kind" in value for value in data.values())
    return inner if free or not data else [data, *inner]


@pytest.mark.parametrize("name", PRESETS)
def test_whole_configurations_are_accepted(name: str) -> None:
    rng = random.Random(name)
    assert accepts(SCHEMA, preset(name).to_dict())
    for _ in range(10):
        assert accepts(SCHEMA, random_configs.mutated(preset(name), rng, 0.3).to_dict())


@pytest.mark.parametrize("name", PRESETS)
def test_unknown_keys_are_rejected_wherever_they_stand(name: str) -> None:
    data = preset(name).to_dict()
    places = _objects(data)
    assert len(places) > 20
    for place in places:
        if place is data["data"]["splits"]["lists"] or place is data["train"]["optimizer"]["rates"]:
            continue
        place["stepz"] = 1
        assert not accepts(SCHEMA, data), place
        del place["stepz"]
    assert accepts(SCHEMA, data)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("train.steps", 0),
        ("train.steps", "many"),
        ("train.steps", True),
        ("train.precision", "fp23"),
        ("train.optimizer.betas", [0.9]),
        ("train.optimizer.betas", [0.9, 1.0]),
        ("train.optimizer.rates", {"a": "x"}),
        ("model.trunk", "deep"),
        ("model.trunk.norm", "rmsnrm"),
        ("model.trunk.norm", {"eps": 1e-5}),
        ("model.trunk.norm.kind", "rmsnrm"),
        ("model.towers", []),
        ("model.towers.image", None),
        ("task", {"kind": "captioning", "decode": "grady"}),
    ],
)
def test_wrong_values_are_rejected(path: str, value: Any) -> None:
    data: Any = preset("captioner-tiny").to_dict()
    *way, last = path.split(".")
    place = data
    for key in way:
        place = place[key]
    place[last] = value
    assert not accepts(SCHEMA, data)


def test_a_kind_alone_and_null_are_accepted() -> None:
    data: Any = preset("captioner-tiny").to_dict()
    data["model"]["trunk"]["norm"] = "rmsnorm"
    data["model"]["trunk"]["cross_attention"] = None
    data["model"]["fusion"] = None
    assert accepts(SCHEMA, data)


# ------------------------------------------------------------------ files that name a preset


def _thinned(data: Any, rng: random.Random) -> Any:
    """The same with keys left out at random, kinds too."""
    if not isinstance(data, dict):
        return data
    return {key: _thinned(value, rng) for key, value in data.items() if rng.random() < 0.6}


def _loads(data: dict[str, Any]) -> bool:
    try:
        load_config(data)
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize("name", PRESETS)
def test_what_the_loader_accepts_over_a_preset_is_accepted(name: str) -> None:
    rng, loaded = random.Random(name), 0
    for _ in range(25):
        other = random_configs.mutated(preset(rng.choice([*PRESETS])), rng, 0.2).to_dict()
        data = {"preset": name} | _thinned(other, rng)
        if _loads(data):
            loaded += 1
            assert accepts(SCHEMA, data), data
    assert loaded > 1


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"train": {"steps": 5, "schedule": {"warmup": 1}}},
        {"train.steps": 5, "model.image.attention.kind": "softmax"},
        {"model": {"image": {"depth": 2, "norm": "rmsnorm"}, "towers": {"text": {"max_len": 9}}}},
        {"model": {"fusion": "prefix", "trunk": {"cross_attention": None}}},
        {"task": {"decode": {"num_beams": 2, "kind": "beam"}}},
        {"train": {"optimizer": {"rates": {"towers.image.*": 0.1}}}},
    ],
)
def test_files_that_name_a_preset(data: dict[str, Any]) -> None:
    data = {"preset": "captioner-tiny"} | data
    assert _loads(data)
    assert accepts(SCHEMA, data)


@pytest.mark.parametrize(
    "data",
    [
        {"preset": "captioner-tinny"},
        {"preset": None},
        {"preset": "captioner-tiny", "trian": {}},
        {"preset": "captioner-tiny", "train": {"stepz": 5}},
        {"preset": "captioner-tiny", "train": {"steps": "many"}},
        {"preset": "captioner-tiny", "train": {"steps": 0}},
        {"preset": "captioner-tiny", "model": {"image": {"depht": 2}}},
        {"preset": "captioner-tiny", "model": {"trunk": {"norm": "rmsnrm"}}},
        {"preset": "captioner-tiny", "model": {"trunk": {"norm": {"kind": "rmsnorm", "rotary": 1}}}},
        {"train": {"steps": 5}},
        {"train.steps": 5},
    ],
)
def test_other_files_are_rejected(data: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        load_config(data)
    assert not accepts(SCHEMA, data)


def test_without_presets_settings_are_whole() -> None:
    schema = json_schema(RunConfig)
    assert "if" not in schema
    assert not [name for name in schema["$defs"] if name.endswith("Changes")]
