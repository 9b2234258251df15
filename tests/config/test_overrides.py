"""Dotted overrides: every order, every kind of mistake, none hidden by another."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from patchword.config import (
    BeamDecodeConfig,
    BPETokenizerConfig,
    ConfigError,
    ImageTowerConfig,
    LayerNormConfig,
    RMSNormConfig,
    SampleDecodeConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    SwiGLUConfig,
    UserError,
    WordsTokenizerConfig,
    override,
    parse_overrides,
)
from patchword.models.presets import preset

RUN = preset("captioner-tiny")


def problems(changes: dict[str, Any], config: Any = RUN) -> dict[str, str]:
    with pytest.raises(ConfigError) as caught:
        override(config, changes, "words")
    assert str(caught.value).startswith("words: ")
    return dict(caught.value.problems)


# ------------------------------------------------------------------ words


def test_words_are_read_as_yaml() -> None:
    words = ["a.b=3e-4", "c=no", "d=1:30", "e=010", "f=null", "g=", "h=[1, x]", "i={k: 1}", "j=a=b", "k='5'", " l = x "]
    assert parse_overrides(words) == {
        "a.b": 3e-4, "c": "no", "d": "1:30", "e": 10, "f": None, "g": None, "h": [1, "x"], "i": {"k": 1}, "j": "a=b",
        "k": "5", "l": "x",
    }  # fmt: skip
    assert parse_overrides([]) == {}


@pytest.mark.parametrize("word", ["train.steps", "", "=5", " =5", "--json"])
def test_what_is_no_override_is_refused(word: str) -> None:
    with pytest.raises(UserError, match=r"should look like train\.steps=500"):
        parse_overrides([word])


@pytest.mark.parametrize(
    "word", ["a=[1", "a=@x", "a={b: 1, b: 2}", "a=\x07", "a=!!python/name:os.system x", "a=" + "[" * 999]
)
def test_values_that_are_no_yaml_are_refused(word: str) -> None:
    with pytest.raises(UserError, match=r"^override a\b"):
        parse_overrides([word])


@pytest.mark.parametrize("value", ["#x", "photos #2", "[1] # one", "'a' #b"])
def test_text_that_yaml_would_drop_is_refused(value: str) -> None:
    with pytest.raises(UserError, match="would be lost"):
        parse_overrides([f"data.source={value}"])


@pytest.mark.parametrize("value", ["a#x", "'photos #2'", '"#"', "[a#b]"])
def test_a_hash_inside_text_is_text(value: str) -> None:
    assert "#" in str(parse_overrides([f"data.source={value}"])["data.source"])


def test_all_wrong_words_are_named() -> None:
    with pytest.raises(UserError) as caught:
        parse_overrides(["steps", "a=1", "b=[", "a=2"])
    first, second, third = str(caught.value).splitlines()
    assert "'steps'" in first
    assert "override b" in second
    assert third == "override 'a' is given twice: 1 and 2"


# ------------------------------------------------------------------ values


def test_fields_are_changed_and_nothing_else() -> None:
    changes = {"train.steps": 7, "model.image.depth": 1, "model.towers.text.max_len": 9, "name": "x"}
    new = override(RUN, changes)
    assert (new.train.steps, new.model.towers["image"].depth, new.name) == (7, 1, "x")
    old = override(new, {
        "train.steps": RUN.train.steps, "model.image.depth": RUN.model.towers["image"].depth, "name": RUN.name,
        "model.text.max_len": RUN.model.towers["text"].to_dict()["max_len"],
    })  # fmt: skip
    assert old == RUN
    assert override(RUN, {}) == RUN


def test_a_part_that_was_null_is_made() -> None:
    new = override(StackConfig(), {"cross_attention.num_heads": 8})
    assert new.cross_attention == SoftmaxAttentionConfig(num_heads=8)
    run = override(
        preset("captioner-prefix-small"), {"model.trunk.cross_attention.num_heads": 8, "model.fusion": "cross"}
    )
    assert run.model.trunk is not None
    assert run.model.trunk.cross_attention == SoftmaxAttentionConfig(num_heads=8)
    assert override(StackConfig(), {"attention.qk_norm": "rmsnorm"}).attention == SoftmaxAttentionConfig(
        qk_norm=RMSNormConfig()
    )


def test_null_takes_a_part_away() -> None:
    assert override(StackConfig(), {"attention": None}).attention is None
    found = problems({"model.trunk": None})
    assert "unknown source 'trunk'" in found["model.heads.text.source"]


def test_a_mapping_changes_what_it_names() -> None:
    old = StackConfig(dim=64, norm=RMSNormConfig(eps=1e-3))
    assert override(old, {"norm": {"eps": 0.5}, "residual": {"dropout": 0.5}}).norm == RMSNormConfig(eps=0.5)
    assert override(old, {"norm": {"kind": "layernorm", "bias": False}}).norm == LayerNormConfig(bias=False)
    assert override(old, {"norm": LayerNormConfig(eps=0.1)}).norm == LayerNormConfig(eps=0.1)


def test_the_callers_mapping_is_left_alone() -> None:
    value: dict[str, Any] = {"dropout": 0.5}
    new = override(StackConfig(), {"residual": value, "residual.drop_path": 0.25})
    assert (new.residual.dropout, new.residual.drop_path) == (0.5, 0.25)
    assert value == {"dropout": 0.5}


def test_plain_mappings_are_set_by_name() -> None:
    changes = {"train.optimizer.rates.towers.image.*": 0.5, "data.splits.lists.val": "dev.txt"}
    new = override(RUN, changes)
    assert new.train.optimizer.rates["towers.image.*"] == 0.5
    assert new.data.splits.lists == {"val": "dev.txt"}
    assert override(new, {"data.splits.lists": {}}).data.splits.lists == {}


# ------------------------------------------------------------------ kinds

FREE = {"data.tokenizer.kind": "bpe", "data.tokenizer.min_frequency": 5, "data.tokenizer.lowercase": False}


@pytest.mark.parametrize("paths", list(itertools.permutations(FREE)))
def test_a_changed_kind_comes_first_in_any_order(paths: tuple[str, ...]) -> None:
    file = RUN.replace(data=RUN.data.replace(tokenizer=WordsTokenizerConfig(vocab_size=77, min_frequency=9)))
    tokenizer = override(file, {path: FREE[path] for path in paths}).data.tokenizer
    assert tokenizer == BPETokenizerConfig(lowercase=False, min_frequency=5)


def test_a_changed_kind_keeps_what_the_family_shares() -> None:
    old = SampleDecodeConfig(max_len=7, repetition_penalty=1.5, temperature=0.5)
    run = override(RUN, {"task.decode": old})
    new = override(run, {"task.decode.kind": "beam", "task.decode.num_beams": 3}).task.to_dict()["decode"]
    assert new == BeamDecodeConfig(max_len=7, repetition_penalty=1.5, num_beams=3).to_dict()
    assert override(run, {"task.decode": "sample"}) == run
    found = problems({"task.decode.kind": "beam", "task.decode.temperature": 0.7}, run)
    assert "unknown field 'temperature'" in found["task.decode.temperature"]


def test_kinds_within_kinds_in_any_order() -> None:
    changes = {
        "model.image.attention.qk_norm.eps": 0.5,
        "model.image.attention.qk_norm": "rmsnorm",
        "model.image.ffn.kind": "swiglu",
        "model.image.ffn.hidden_dim": 24,
        "model.image.norm.kind": "rmsnorm",
    }
    for _ in range(6):
        paths = random.sample(list(changes), len(changes))
        tower = override(RUN, {p: changes[p] for p in paths}).model.towers["image"]
        assert isinstance(tower, ImageTowerConfig)
        assert tower.attention is not None
        assert tower.attention.qk_norm == RMSNormConfig(eps=0.5)
        assert tower.ffn == SwiGLUConfig(hidden_dim=24)
        assert tower.norm == RMSNormConfig()


def test_a_new_tower_needs_a_kind() -> None:
    new = override(RUN, {"model.towers.more.dim": 32, "model.towers.more.kind": "text", "model.more.depth": 1})
    assert (new.model.towers["more"].dim, new.model.towers["more"].depth) == (32, 1)
    assert "needs a kind" in problems({"model.towers.more.dim": 32})["model.towers.more.dim"]


# ------------------------------------------------------------------ mistakes

WRONG: list[tuple[str, Any, str, str]] = [
    ("train.stepz", 1, "train.stepz", "did you mean 'steps'?"),
    ("model.imge.depth", 1, "model.imge.depth", "did you mean 'image'?"),
    ("nothing", 1, "nothing", "allowed: data, model, name, task, train"),
    ("train.steps.x", 1, "train.steps.x", "holds one value and has no field 'x'"),
    ("train.device.a.b", 1, "train.device.a.b", "holds one value and has no field 'a'"),
    ("train.kind", "x", "train.kind", "unknown field 'kind'"),
    ("model.trunk.kind", "x", "model.trunk.kind", "unknown field 'kind'"),
    ("model.trunk.norm.kind", "rmsnrm", "model.trunk.norm.kind", "did you mean 'rmsnorm'?"),
    ("model.trunk.norm.kind", None, "model.trunk.norm.kind", "allowed: layernorm, none, rmsnorm, scalenorm"),
    ("model.trunk.norm.kind", ["rmsnorm"], "model.trunk.norm.kind", "unknown norm kind"),
    ("model.trunk.norm", "rmsnrm", "model.trunk.norm", "did you mean 'rmsnorm'?"),
    ("model.trunk.norm", 5, "model.trunk.norm", "one of layernorm, none, rmsnorm, scalenorm"),
    ("model.trunk.norm", None, "model.trunk.norm", "one of layernorm, none, rmsnorm, scalenorm"),
    ("model.trunk", 5, "model.trunk", "a mapping of settings"),
    ("model.trunk", "x", "model.trunk", "a mapping of settings"),
    ("model.trunk", [], "model.trunk", "a mapping of settings"),
    ("train", None, "train", "a mapping of settings"),
    ("train", {"stepz": 1}, "train.stepz", "did you mean 'steps'?"),
    ("model.towers", 5, "model.towers", "a mapping"),
    ("model.towers", None, "model.towers", "a mapping"),
    ("model.towers.image", None, "model.towers.image", "a mapping of settings"),
    ("model.image", 5, "model.towers.image", "a mapping of settings"),
    ("train..steps", 1, "train..steps", "empty part"),
    (".train", 1, ".train", "empty part"),
    ("model.towers..dim", 1, "model.towers..dim", "empty part"),
    ("train.steps", "x", "train.steps", "a whole number > 0"),
    ("data.splits.lists", 5, "data.splits.lists", "a mapping"),
    ("data.splits.lists.val", 5, "data.splits.lists", "text"),
]


@pytest.mark.parametrize(("path", "value", "where", "said"), WRONG)
def test_a_wrong_override_is_said_with_its_path(path: str, value: Any, where: str, said: str) -> None:
    found = problems({path: value})
    assert list(found) == [where]
    assert said in found[where]


def test_no_wrong_override_hides_another() -> None:
    for _ in range(20):
        picked = {path: (value, where) for path, value, where, _ in random.sample(WRONG, 4)}
        places = sorted(picked)
        if any(a != b and f"{b}.".startswith(f"{a}.") for a in places for b in places):
            continue  # of a part inside another wrong part nothing can be said
        if len({p.split(".")[:2][-1] for p in places}) < len(places):
            continue
        found = problems({path: value for path, (value, _) in picked.items()})
        assert set(found) >= {where for path, (_, where) in picked.items() if path != "model.image"}


def test_two_values_for_one_place_are_refused() -> None:
    for changes in (
        {"model.image.dim": 64, "model.towers.image.dim": 32},
        {"model.trunk.norm": "rmsnorm", "model.trunk.norm.kind": "layernorm"},
        {"model.trunk": None, "model.trunk.depth": 3},
        {"train.steps": 5, "train": {"steps": 6}},
    ):
        for pairs in itertools.permutations(changes.items()):
            assert any("is set to" in message for message in problems(dict(pairs)).values())


def test_no_phantoms_follow_from_a_wrong_override() -> None:
    assert list(problems({"model.trunk.dm": 256, "model.text.dim": 256})) == ["model.trunk.dm"]
    assert list(problems({"model.fusion.kind": "prefx", "model.trunk.cross_attention": None})) == ["model.fusion.kind"]
    assert list(problems({"model.trunk.attention.num_heads": 7})) == ["model.trunk.attention.num_heads"]
