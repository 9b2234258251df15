"""The embedded numbers: each with its digits in reverse order, none in two splits, the same at every call."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from patchword.config import ConfigError, DataConfig, Fields, UserError, override
from patchword.data.base import Source
from patchword.data.decode import BadImage
from patchword.data.sources import open_source

PAIRS = Fields(("source", "target"), image=False)


def digits(**changes: Any) -> Source:
    settings = {f"digits.{name}": value for name, value in changes.items()}
    return open_source(override(DataConfig(source="digits"), settings), PAIRS)


def texts(source: Source, split: str) -> list[tuple[str, str]]:
    part = source.splits[split]
    return [(r.texts["source"][0], r.texts["target"][0]) for r in map(part.record, range(len(part)))]


def test_the_target_is_the_source_from_its_end():
    for between, spaced in ((" ", True), ("", False)):
        found = texts(digits(train=300, spaced=spaced), "train")
        assert len(found) == 300
        for source, target in found:
            symbols = source.split(" ") if spaced else list(source)
            assert all(symbol in "0123456789" and len(symbol) == 1 for symbol in symbols)
            assert 3 <= len(symbols) <= 10
            assert target == between.join(symbols[::-1])
    assert {len(source) for source, _ in found} == set(range(3, 11))


def test_no_number_is_in_two_splits_whatever_the_seeds():
    draws = [digits(seed=seed, shortest=2, longest=4) for seed in (0, 1)]
    train, val, test = ({said for draw in draws for said, _ in texts(draw, name)} for name in ("train", "val", "test"))
    assert train.isdisjoint(val | test)
    assert val.isdisjoint(test)
    assert min(map(len, (train, val, test))) > 100


def test_another_seed_is_another_draw_and_the_same_one_the_same():
    first = texts(digits(train=50), "train")
    assert first == texts(pickle.loads(pickle.dumps(digits(train=50))), "train")
    assert first == texts(digits(train=80), "train")[:50]
    assert first != texts(digits(train=50, seed=1), "train")


def test_what_it_has_not():
    with pytest.raises(UserError, match="the embedded numbers have no caption; what they have: source, target"):
        open_source(DataConfig(source="digits"), Fields(("caption",), image=None))
    with pytest.raises(UserError, match="the embedded numbers have no picture"):
        open_source(DataConfig(source="digits"), Fields(("source",), image=True))
    with pytest.raises(UserError, match=r"data\.table=x: the embedded data set has no files"):
        open_source(DataConfig(source="digits", table="x"), PAIRS)
    with pytest.raises(ConfigError, match=r"shortest.*12 is more than longest 10"):
        override(DataConfig(), {"digits.shortest": 12})
    split = digits().splits["train"]
    with pytest.raises(IndexError):
        split.record(-1)
    with pytest.raises(BadImage):
        split.read(0)


def test_scenes_are_pairs_too():
    for language, word in (("en", "kreis"), ("de", "circle")):
        config = override(DataConfig(), {"scenes.language": language, "scenes.train": 40})
        found = open_source(config, PAIRS).splits["train"]
        records = list(map(found.record, range(40)))
        assert all(len(r.texts["source"]) == len(r.texts["target"]) == 5 for r in records)
        assert any(word in " ".join(r.texts["target"]).lower() for r in records)
        assert not any(word in " ".join(r.texts["source"]).lower() for r in records)
