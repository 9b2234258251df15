"""Configurations as files: nothing is lost on the way out and in, and every mistake is named with its line."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import random_configs
import yaml

from patchword.config import RunConfig, StackConfig, UserError, parse_yaml, read_file, to_json, to_yaml
from patchword.config.core import Config, is_family, required_fields
from patchword.models.presets import PRESETS, load_config, preset

MAKEABLE = [c for c in random_configs.classes() if not is_family(c) and not required_fields(c)]


def _round_trip(config: Config, folder: Path) -> None:
    for comments in (True, False):
        assert type(config).from_dict(parse_yaml(to_yaml(config, comments))) == config
    assert type(config).from_dict(json.loads(to_json(config))) == config
    assert type(config).from_dict(parse_yaml(to_json(config))) == config
    (folder / "a.json").write_text(to_json(config), encoding="utf-8")
    assert type(config).from_dict(read_file(folder / "a.json")) == config


@pytest.mark.parametrize("cls", MAKEABLE, ids=lambda c: c.__name__)
def test_random_parts_go_out_and_in_unchanged(cls: type[Config], tmp_path: Path) -> None:
    rng = random.Random(cls.__name__)
    for _ in range(2):
        _round_trip(random_configs.config(cls, rng), tmp_path)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_and_random_runs_go_out_and_in_unchanged(name: str, tmp_path: Path) -> None:
    rng, run = random.Random(name), preset(name)
    _round_trip(run, tmp_path)
    # most changes to a run are refused, and now and then all of them are
    changed = next(made for made in (random_configs.mutated(run, rng) for _ in range(20)) if made != run)
    _round_trip(changed, tmp_path)
    (tmp_path / "run.yaml").write_text(to_yaml(changed), encoding="utf-8")
    assert load_config(tmp_path / "run.yaml") == changed


def test_other_readers_of_yaml_read_the_same() -> None:
    run = preset("captioner-tiny").replace(name="no")
    assert RunConfig.from_dict(yaml.safe_load(to_yaml(run))) == run


def test_a_file_over_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "preset: captioner-tiny\ntrain: {steps: 7, optimizer: {rates: {towers.image.*: 0.5}}}\n"
        "data:\n  splits: {lists: {val: dev.txt}}\n  tokenizer: bytes\nmodel: {towers: {image: {norm: rmsnorm}}}\n"
    )
    changes: dict[str, Any] = {
        "train.steps": 7,
        "train.optimizer.rates": {"towers.image.*": 0.5},
        "data.splits.lists": {"val": "dev.txt"},
        "data.tokenizer": "bytes",
        "model.image.norm": "rmsnorm",
    }
    assert load_config(path) == load_config("captioner-tiny", changes)
    assert load_config(path, {"train.steps": 9}).train.steps == 9
    path.write_text("preset: captioner-tiny\ntrain: {stepz: 7}\nmodel: {trunk: {norm: rmsnrm}}\n")
    with pytest.raises(UserError) as caught:
        load_config(path)
    assert all(part in str(caught.value) for part in (str(path), "2 problems", "'steps'", "'rmsnorm'"))


# ------------------------------------------------------------------ YAML 1.2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4), ("1E5", 1e5), ("-.5", -0.5), ("1.", 1.0), ("010", 10), ("-7", -7), ("+1", 1), ("1_000", 1000),
        ("no", "no"), ("Yes", "Yes"), ("on", "on"), ("y", "y"), ("1:30", "1:30"), ("0x1F", "0x1F"), ("0o17", "0o17"),
        ("2020-01-01", "2020-01-01"), ("=", "="), ("<<", "<<"), ("true", True), ("False", False), ("tRue", "tRue"),
        ("null", None), ("~", None), ("", None), ("nul", "nul"), ("'5'", "5"), (".inf", float("inf")), (".", "."),
        ("-.inf", float("-inf")), ("e5", "e5"), ("- 1", [1]), ("+", "+"), ("1e", "1e"), ("\ufeffa", "a"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    found = parse_yaml(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "'a' stands twice"),
        ("x:\n  a: 1\n  'a': 3\n", 3, "'a' stands twice"),
        ("a: [1\nb: 2", 2, "expected"),
        ("a: 1\n\tb: 2", 2, "tab"),
        ("a: \x07", 1, "U+0007"),
        ("a: 1\nb: \x00", 2, "U+0000"),
        ("a: 1\n? [x]\n: 2", 2, "a key should be"),
        ("a: 1\n{b: 1}: 2", 2, "a key should be"),
        ("a: 1\nb: !!python/object/apply:os.system [ls]", 2, "python/object"),
        ("a: !!int x", 1, "tag"),
        ("a: !!bool maybe", 1, "tag"),
        ("a: !!timestamp x", 1, "tag"),
        ("a: *b", 1, "undefined alias"),
        ("a: 1\n---\nb: 1", 2, "another document"),
        ("a: 1\nb: " + "9" * 5000, 2, "too long"),
        ("a: &a [*a]", 1, "more than"),
        ("a: &a {b: *a}", 1, "more than"),
        ("a: " + "[" * 70 + "]" * 70, 1, "deep"),
        ("a: '", 1, "end of stream"),
    ],
)
def test_what_is_no_yaml_is_said_with_its_line(text: str, line: int, said: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_yaml(text, "my.yaml")
    assert str(caught.value).startswith(f"my.yaml, line {line}: not valid YAML: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_hostile_yaml_is_refused_at_once() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{i + 1}: &a{i + 1} [*a{i}, *a{i}]\n" for i in range(60))
    with pytest.raises(UserError, match="more than 100000 values"):
        parse_yaml(bomb)
    maps = "a0: &a0 {x: 1}\n" + "".join(f"a{i + 1}: &a{i + 1} {{l: *a{i}, r: *a{i}}}\n" for i in range(60))
    with pytest.raises(UserError, match="more than 100000 values"):
        parse_yaml(maps)
    for deep in ("[" * 900, "{a: " * 900):
        with pytest.raises(UserError, match="deep"):
            parse_yaml(deep)


def test_aliases_are_shared_values() -> None:
    data = parse_yaml("attention: &a {kind: softmax, num_heads: 2}\ncross_attention: *a\n")
    stack = StackConfig.from_dict(data)
    assert stack.attention == stack.cross_attention
    assert stack.attention is not None
    assert stack.attention.num_heads == 2


# ------------------------------------------------------------------ files


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.yaml", b"- 1\n", "should hold a mapping of settings, got a list"),
        ("a.yaml", b"hello", "should hold a mapping of settings, got text"),
        ("a.yaml", b"5", "got a number"),
        ("a.yaml", b"", "is empty"),
        ("a.yaml", b"# nothing\n", "is empty"),
        ("a.json", b"", "is empty"),
        ("a.json", b"null", "is empty"),
        ("a.json", b"[]", "got a list"),
        ("a.yaml", b"name: \xff\xfe", "is not UTF-8 text"),
        ("a.yaml", "name: x".encode("utf-16"), "is not UTF-8 text"),
        ("a.json", b'{"a": 1,\n "a": 2}', "'a' stands twice"),
        ("a.json", b'{"a": 1,\n b: 2}', "line 2"),
        ("a.json", b'{"a": ' + b"[" * 100_000, "nested too deeply"),
        ("a.json", b'{"a": ' + b"[" * 99 + b"]" * 99 + b"}", "nested too deeply"),
        ("a.json", b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_file(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, said in (
        (tmp_path / "no.yaml", "No such file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "a\0.yaml", "null byte"),
    ):
        with pytest.raises(UserError, match=f"(?s)cannot read configuration .*{said}"):
            read_file(path)


def test_files_of_other_editors_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes("\ufeffname: groß\r\n".encode())
    assert read_file(path) == {"name": "groß"}
    path = tmp_path / "a.json"
    path.write_bytes(b'\xef\xbb\xbf{\n\t"name": "\\ud83d\\ude00\\/"\n}')
    assert read_file(path) == {"name": "😀/"}
