"""Typed settings: what is refused and how it is said, families and kinds, extension from outside."""

from __future__ import annotations

import dataclasses
import itertools
import pickle
import random
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import random_configs

from patchword.config import (
    AttentionConfig,
    CaptioningTaskConfig,
    ConfigError,
    CrossFusionConfig,
    DataConfig,
    ImageTowerConfig,
    LanguageHeadConfig,
    ModelConfig,
    NormConfig,
    OptimizerConfig,
    Problem,
    RMSNormConfig,
    RunConfig,
    StackConfig,
    TextTowerConfig,
    TrainConfig,
    UserError,
    implements,
    nearest,
    unknown,
)
from patchword.config.core import Config, is_family
from patchword.models.presets import preset


def problems(call: Any) -> dict[str, str]:
    """What is wrong, by path."""
    with pytest.raises(ConfigError) as caught:
        call()
    found = caught.value.problems
    assert len({p.path for p in found}) == len(found), found
    assert all(f"{p.path or '(top)'}: {p.message}" in str(caught.value) for p in found)
    return dict(found)


def tiny(**changes: Any) -> dict[str, Any]:
    """The smallest preset as plain data, with dotted changes made blindly."""
    data: Any = preset("captioner-tiny").to_dict()
    for path, value in changes.items():
        *way, last = path.split(".")
        place = data
        for key in way:
            place = place[key]
        place[last] = value
    return data


# ------------------------------------------------------------------ one wrong value

WRONG: list[tuple[str, Any, list[str]]] = [
    ("train.steps", "many", ["a whole number > 0", "'many'"]),
    ("train.steps", 1.5, ["a whole number > 0", "1.5"]),
    ("train.steps", True, ["a whole number > 0", "true"]),
    ("train.steps", 0, ["a whole number > 0", "0"]),
    ("train.steps", None, ["a whole number > 0", "null"]),
    ("train.minutes", -1, ["a number > 0 or null"]),
    ("train.minutes", float("nan"), ["number > 0 or null", "nan"]),
    ("train.minutes", float("inf"), ["a number > 0", "finite", "inf"]),
    ("train.minutes", 10**400, ["number"]),
    ("train.compile", "no", ["true or false", "'no'"]),
    ("train.compile", 1, ["true or false", "1"]),
    ("train.precision", "fp23", ["'fp23'", "did you mean 'fp32'?", "bf16, fp16, fp32"]),
    ("train.precision", 32, ["one of fp32, bf16, fp16", "32"]),
    ("train.precision", ["fp32"], ["one of fp32"]),
    ("train.device", "gpu", ["auto, cpu, cuda or cuda:N", "'gpu'"]),
    ("train.device", "cuda:", ["cuda:N"]),
    ("train.device", "cuda:²", ["cuda:N"]),
    ("train.device", "cpu:0", ["cuda:N"]),
    ("train.optimizer.betas", [0.9], ["a list of 2", "0.9"]),
    ("train.optimizer.betas", [0.9, 1.0], ["a list of 2", "< 1"]),
    ("train.optimizer.betas", 0.9, ["a list of 2", "0.9"]),
    ("train.optimizer.rates", [1], ["a mapping of names", "[1]"]),
    ("train.optimizer.rates", {"a": "fast"}, ["a number >= 0", "fast"]),
    ("train.optimizer.rates", {1: 0.5}, ["a mapping of names"]),
    ("train.optimizer.rates", {"a": float("inf")}, ["finite"]),
    ("train.optimizer.freeze", "towers.*", ["a list, each text"]),
    ("train.optimizer.freeze", [1], ["a list, each text"]),
    ("model.towers.image.mean", [0.5, float("nan"), 0.5], ["finite"]),
    ("model.towers.image.mean", [0.5], ["1 values for 3 channels"]),
    ("model.towers.image.image_size", [64, 65], ["[64, 65]", "whole number of patches"]),
    ("name", 7, ["text", "7"]),
    ("name", "a\ud800", ["half a character"]),
    ("data.splits.lists", "train.txt", ["a mapping of names", "train.txt"]),
    ("data", None, ["a mapping of settings", "null"]),
    ("data", [], ["a mapping of settings", "[]"]),
    ("data", "photos", ["a mapping of settings", "photos"]),
    ("model.towers.image.norm", 5, ["a mapping of settings, or one of layernorm, none, rmsnorm, scalenorm", "5"]),
    ("model.towers.image.norm", None, ["a mapping of settings, or one of layernorm", "null"]),
    ("model.towers.image", None, ["a mapping of settings, or one of features, image, text"]),
    ("model.towers", ["image"], ["a mapping of names to settings", "['image']"]),
    ("model.towers", None, ["a mapping of names to settings"]),
    ("model.towers", {}, ["at least one tower"]),
]


@pytest.mark.parametrize(("path", "value", "parts"), WRONG)
def test_a_wrong_value_is_said_with_its_path(path: str, value: Any, parts: list[str]) -> None:
    found = problems(lambda: RunConfig.from_dict(tiny(**{path: value})))
    assert list(found) == [path]
    for part in parts:
        assert part in found[path]


@pytest.mark.parametrize("kind", ["rmsnrm", "RMSNORM", 5, None, True, ["rmsnorm"], {"a": 1}])
def test_a_wrong_kind_names_those_that_are_allowed(kind: Any) -> None:
    found = problems(lambda: RunConfig.from_dict(tiny(**{"model.trunk.norm": {"kind": kind}})))
    assert list(found) == ["model.trunk.norm.kind"]
    message = found["model.trunk.norm.kind"]
    assert "norm kind" in message
    assert "allowed: layernorm, none, rmsnorm, scalenorm" in message
    assert ("did you mean 'rmsnorm'?" in message) == (kind in ("rmsnrm", "RMSNORM"))


def test_a_missing_kind_names_those_that_are_allowed() -> None:
    found = problems(lambda: RunConfig.from_dict(tiny(**{"model.trunk.norm": {"eps": 1e-6}})))
    assert found == {"model.trunk.norm.kind": "is missing; allowed: layernorm, none, rmsnorm, scalenorm"}


@pytest.mark.parametrize("key", ["stepz", "", "a.b", 1, None, True])
def test_an_unknown_key_names_the_nearest(key: Any) -> None:
    data = tiny()
    data["train"][key] = 1
    found = problems(lambda: RunConfig.from_dict(data))
    assert list(found) == [f"train.{key}"]
    assert "unknown field" in found[f"train.{key}"]
    assert "allowed: accumulate, best_metric" in found[f"train.{key}"]
    assert ("did you mean 'steps'?" in found[f"train.{key}"]) == (key == "stepz")


@pytest.mark.parametrize("name", ["", "a.b", ".", 1, None, "kind"])
def test_a_name_that_no_path_reaches_is_refused(name: Any) -> None:
    data = tiny()
    data["model"]["towers"][name] = {"kind": "text"}
    assert "text without dots" in problems(lambda: RunConfig.from_dict(data))["model.towers"]
    with pytest.raises(ConfigError, match="text without dots"):
        ModelConfig(towers={name: TextTowerConfig()}, heads={})


def test_required_fields_are_asked_for() -> None:
    assert problems(lambda: RunConfig.from_dict({})) == {"task": "is required", "model": "is required"}
    found = problems(lambda: RunConfig.from_dict({"task": "captioning", "model": {"heads": 1}}))
    assert set(found) == {"model.towers", "model.heads"}


@pytest.mark.parametrize("data", [None, [], "x", 5, [("a", 1)]])
def test_what_is_no_mapping_is_refused(data: Any) -> None:
    assert "should be a mapping of settings" in problems(lambda: RunConfig.from_dict(data))[""]


def test_messages_stay_short() -> None:
    huge: Any = {"a": [["x" * 10_000] * 100] * 100}
    for path in ("train.steps", "data", "model.towers.image.norm", "model.towers.image.norm.kind", "train.precision"):
        value = "y" * 100_000 if path == "train.precision" else huge
        with pytest.raises(ConfigError) as caught:
            RunConfig.from_dict(tiny(**{path: value}))
        assert len(str(caught.value)) < 1500


# ------------------------------------------------------------------ several at once


def test_all_errors_of_a_file_stand_in_one_message() -> None:
    data = tiny(**{
        "trian": {},
        "train.steps": "x",
        "train.optimizer.lr": 0,
        "data.image.resize": "crp",
        "data.tokenizer": {"kind": "wrods"},
        "model.towers.image.dim": 130,
        "model.towers.image.attention.num_heads": 4,
        "model.trunk.norm.epz": 1,
        "model.heads.text.kind": "langage",
    })  # fmt: skip
    found = problems(lambda: RunConfig.from_dict(data, "my.yaml"))
    assert set(found) == {
        "trian",
        "train.steps",
        "train.optimizer.lr",
        "data.image.resize",
        "data.tokenizer.kind",
        "model.towers.image.attention.num_heads",
        "model.trunk.norm.epz",
        "model.heads.text.kind",
    }
    with pytest.raises(ConfigError) as caught:
        RunConfig.from_dict(data, "my.yaml")
    assert str(caught.value).startswith("my.yaml: 8 problems\n")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.trunk.attention.num_heads", 7),
        ("model.trunk.dim", "wide"),
        ("model.trunk.cross_attention.kind", "softmx"),
        ("model.towers.text.max_len", 0),
        ("model.fusion.kind", "corss"),
        ("model.heads.text.tied", 3),
        ("data.image.height", -64),
        ("task.head", 5),
    ],
)
def test_no_phantoms_follow_from_a_wrong_part(path: str, value: Any) -> None:
    assert list(problems(lambda: RunConfig.from_dict(tiny(**{path: value})))) == [path]


def test_a_misspelt_field_is_not_judged_by_its_default() -> None:
    data = tiny()
    data["model"]["fussion"] = data["model"].pop("fusion")
    assert list(problems(lambda: RunConfig.from_dict(data))) == ["model.fussion"]


def test_a_setting_that_is_gone_is_read_where_it_said_nothing() -> None:
    assert LanguageHeadConfig.from_dict({"kind": "language", "num_said": None}) == LanguageHeadConfig()
    with pytest.raises(ConfigError, match="num_said"):
        LanguageHeadConfig.from_dict({"kind": "language", "num_said": 7})


def test_a_foreign_key_hides_nothing_beside_it() -> None:
    data = tiny(**{"model.trunk.dim": 132, "model.trunk.attention.num_heads": 5, "model.trunk.wxyz": 1})
    found = problems(lambda: RunConfig.from_dict(data))
    assert set(found) == {"model.trunk.wxyz", "model.trunk.attention.num_heads"}
    assert found["model.trunk.attention.num_heads"] == "dim 132 is not divisible by num_heads 5"


# ------------------------------------------------------------------ classes


@pytest.mark.parametrize("cls", [c for c in random_configs.classes() if is_family(c)], ids=lambda c: c.__name__)
def test_a_family_itself_is_no_config(cls: type[Config]) -> None:
    with pytest.raises(TypeError, match="is a family: make one of "):
        cls()


def test_a_config_is_frozen_and_its_copy_is_checked() -> None:
    stack = StackConfig(dim=64)
    with pytest.raises(dataclasses.FrozenInstanceError):
        stack.dim = 3  # type: ignore[misc]
    assert stack.replace(dim=128) == StackConfig(dim=128)
    assert list(problems(lambda: stack.replace(dim=66))) == ["attention.num_heads"]
    with pytest.raises(TypeError):
        stack.replace(width=3)


def test_values_are_taken_as_their_type_wants_them() -> None:
    optimizer = OptimizerConfig(lr=1, betas=[0, 0.5], freeze=["a"])  # type: ignore[arg-type]
    assert (optimizer.lr, optimizer.betas, optimizer.freeze) == (1.0, (0.0, 0.5), ("a",))
    assert isinstance(optimizer.lr, float)
    assert optimizer == OptimizerConfig(lr=1.0, betas=(0.0, 0.5), freeze=("a",))


def test_a_config_keeps_none_of_its_callers_mappings() -> None:
    towers, rates = {"text": TextTowerConfig()}, {"a": 1.0}
    model = ModelConfig(towers=towers, heads={})  # type: ignore[arg-type]
    optimizer = OptimizerConfig(rates=rates)
    towers.clear()
    rates.clear()
    assert model.towers
    assert optimizer.rates
    optimizer.to_dict()["rates"].clear()
    assert optimizer.rates


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("norm", StackConfig()),
        ("norm", "rmsnorm"),
        ("norm", None),
        ("residual", {}),
        ("attention", RMSNormConfig()),
    ],
)
def test_a_field_takes_configs_of_its_own_type_only(name: str, value: Any) -> None:
    assert list(problems(lambda: StackConfig(**{name: value}))) == [name]


def test_a_tower_is_no_trunk() -> None:
    """It would be written with a kind that no trunk has, and not be read back."""
    model = preset("captioner-tiny").model
    assert "should be StackConfig" in problems(lambda: model.replace(trunk=model.towers["text"]))["trunk"]


def test_a_kind_is_not_read_as_another() -> None:
    assert list(problems(lambda: TextTowerConfig.from_dict({"kind": "image"}))) == ["kind"]
    assert TextTowerConfig.from_dict({"kind": "text", "dim": 64}) == TextTowerConfig.from_dict({"dim": 64})


def test_build_needs_an_implementation() -> None:
    class LonelyConfig(Config):
        """Alone."""

    with pytest.raises(LookupError, match="nothing implements LonelyConfig"):
        LonelyConfig().build()


def test_configs_travel_to_other_processes() -> None:
    run = preset("captioner-tiny")
    assert pickle.loads(pickle.dumps(run)) == run


# ------------------------------------------------------------------ extension

_number = itertools.count()


def test_a_kind_from_outside_works_everywhere() -> None:
    class ReverseAttentionConfig(AttentionConfig, kind=f"reverse{next(_number)}"):
        """Looks backwards."""

        can = frozenset({"cross"})
        times: int = 2
        """How often."""

    @implements(ReverseAttentionConfig)
    def make(config: ReverseAttentionConfig, width: int) -> tuple[int, int]:
        return config.times, width

    kind = ReverseAttentionConfig.kind
    try:
        stack = StackConfig.from_dict({"attention": {"kind": kind, "times": 3}})
        assert stack.attention is not None
        assert stack.attention.build(5) == (3, 5)
        assert StackConfig.from_dict(stack.to_dict()) == stack
        found = problems(lambda: StackConfig.from_dict({"attention": {"kind": kind, "causal": True}}))
        assert "cannot do: causal; kinds that can: differential, " in found["attention.kind"]
        data = tiny(**{"model.trunk.attention": {"kind": kind, "causal": True}})
        assert list(problems(lambda: RunConfig.from_dict(data))) == ["model.trunk.attention.kind"]
    finally:
        del AttentionConfig.kinds[kind]


def test_a_family_from_outside_works() -> None:
    class ShapeConfig(Config, family="shape"):
        """What it looks like."""

        size: int = 1
        """How large."""

    class RoundConfig(ShapeConfig, kind="round"):
        """Without corners."""

    class BoxConfig(Config):
        """Holds shapes."""

        shape: ShapeConfig = RoundConfig()
        """The shape."""
        more: dict[str, ShapeConfig] = dataclasses.field(default_factory=dict)
        """Others."""

        def problems(self) -> Iterator[Problem]:
            """Too large."""
            if self.shape.size > 3:
                yield Problem("shape.size", "is too large")

    # annotations are looked up in the module: these classes are local to this test
    globals().update(ShapeConfig=ShapeConfig, RoundConfig=RoundConfig)
    try:
        box = BoxConfig.from_dict({"shape": "round", "more": {"a": {"kind": "round", "size": 9}}})
        assert box.more == {"a": RoundConfig(size=9)}
        assert BoxConfig.from_dict(box.to_dict()) == box
        assert problems(lambda: BoxConfig(shape=RoundConfig(size=4))) == {"shape.size": "is too large"}
        with pytest.raises(ValueError, match="shape already has a kind named 'round'"):

            class OvalConfig(ShapeConfig, kind="round"):
                """Not quite."""

        assert ShapeConfig.kinds == {"round": RoundConfig}
    finally:
        del globals()["ShapeConfig"], globals()["RoundConfig"]


# ------------------------------------------------------------------ between the fields


def _model(**changes: Any) -> ModelConfig:
    return preset("captioner-tiny").model.replace(**changes)


def test_names_that_do_not_exist() -> None:
    found = problems(lambda: _model(heads={"text": LanguageHeadConfig(source="trnk", text="txt")}))
    assert found == {"heads.text.source": "unknown source 'trnk'; did you mean 'trunk'? allowed: image, text, trunk"}
    found = problems(lambda: _model(heads={"text": LanguageHeadConfig(text="image")}))
    assert "allowed: text" in found["heads.text.text"]
    found = problems(lambda: _model(fusion=CrossFusionConfig(reader="txt")))
    assert "did you mean 'text'?" in found["fusion.reader"]
    found = problems(lambda: preset("captioner-tiny").replace(task=CaptioningTaskConfig(image="text")))
    assert "unknown image tower 'text'" in found["task.image"]


def test_a_tower_may_not_be_called_trunk() -> None:
    found = problems(lambda: ModelConfig(towers={"trunk": TextTowerConfig()}, heads={"text": LanguageHeadConfig()}))
    assert list(found) == ["towers.trunk"]


def test_only_what_a_mechanism_can_do() -> None:
    class BlindConfig(AttentionConfig, kind=f"blind{next(_number)}"):
        """Can do nothing."""

    try:
        found = problems(lambda: BlindConfig(causal=True, window=3, dropout=0.1))
        able = ", ".join(
            k for k, c in sorted(AttentionConfig.kinds.items()) if {"causal", "window", "dropout"} <= c.can
        )
        assert found["kind"].endswith(f"attention cannot do: causal, dropout, window; kinds that can: {able}")
        found = problems(lambda: StackConfig(cross_attention=BlindConfig()))
        assert "cannot do: cross" in found["cross_attention.kind"]
    finally:
        del AttentionConfig.kinds[BlindConfig.kind]


def test_heads_must_divide() -> None:
    for _ in range(50):
        dim, heads, groups = random.randint(1, 40), random.randint(1, 9), random.randint(1, 4)
        wrong = {}
        if heads % groups:
            wrong["attention.num_kv_heads"] = f"{groups} does not divide num_heads {heads}"
        elif dim % heads:
            wrong["attention.num_heads"] = f"dim {dim} is not divisible by num_heads {heads}"
        try:
            StackConfig.from_dict(
                {"dim": dim, "attention": {"kind": "softmax", "num_heads": heads, "num_kv_heads": groups}}
            )
            found = {}
        except ConfigError as error:
            found = dict(error.problems)
        assert found == wrong


def test_a_stem_halves_whole_patches() -> None:
    assert list(problems(lambda: ImageTowerConfig(patch_size=(4, 4), image_size=(64, 64), stem=(8, 8, 8)))) == ["stem"]
    ImageTowerConfig(patch_size=(8, 8), stem=(8, 8, 8))


# ------------------------------------------------------------------ messages, imports


def test_unknown_and_nearest() -> None:
    assert unknown("kind", "sofmax", ["softmax", "linear"]) == (
        "unknown kind 'sofmax'; did you mean 'softmax'? allowed: linear, softmax"
    )
    assert unknown("kind", 5, []) == "unknown kind 5; allowed: none"
    assert nearest("SoftMax", ["softmax"]) == "softmax"
    assert nearest("zebra", ["softmax"]) is None
    assert issubclass(ConfigError, UserError)
    assert str(ConfigError([Problem("", "is odd")], "x.yaml")) == "x.yaml: 1 problem\n  (top): is odd"


def test_settings_need_no_torch() -> None:
    code = (
        "import sys, patchword.config as c; c.StackConfig(); c.to_yaml(c.TrainConfig()); "
        "sys.exit(sum(n in sys.modules for n in ('torch', 'numpy', 'tokenizers', 'PIL')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_defaults_are_all_valid() -> None:
    assert TrainConfig.from_dict({}) == TrainConfig()
    assert DataConfig.from_dict({}) == DataConfig()
    assert NormConfig.kinds.keys() == {"layernorm", "none", "rmsnorm", "scalenorm"}
