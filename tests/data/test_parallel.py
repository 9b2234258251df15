"""Parallel texts: every layout that is read, and what is said of those that cannot be."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from written import write

from patchword.config import DataConfig, Fields, UserError, override
from patchword.data.doctor import check
from patchword.data.file_source import NotedSource
from patchword.data.sources import open_source

PAIRS = Fields(("source", "target"), image=False)
EN, DE = "one\ntwo\nthree\n", "eins\nzwei\ndrei\n"


def opened(path: Path, **changes: Any) -> NotedSource:
    changes = {"columns.source": "en", "columns.target": "de", "splits.val": 0.0} | changes
    return open_source(override(DataConfig(source=str(path)), changes), PAIRS)


def pairs(source: NotedSource, split: str = "train") -> list[tuple[str, str]]:
    records = [source.splits[split].record(i) for i in range(len(source.splits[split]))]
    return [(record.texts["source"][0], record.texts["target"][0]) for record in records]


def refusal(path: Path, **changes: Any) -> str:
    with pytest.raises(UserError) as caught:
        opened(path, **changes)
    return str(caught.value).replace(str(path), "DIR")


THREE = [("one", "eins"), ("two", "zwei"), ("three", "drei")]


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (("train.en", "train.de"), {}),
        (("train.en.gz", "train.de"), {}),
        (("train.en.txt", "train.de.txt.gz"), {}),
        (("train_en.txt", "train-de.txt"), {"columns.source": "train_en", "columns.target": "train-de"}),
        (("train/en.txt", "train/de.txt"), {}),
        (("deep/corpus.en", "deep/corpus.de"), {}),
        (("en.txt", "de.txt"), {}),
        (("english.txt", "german.txt"), {"columns.source": "english.txt", "columns.target": "german.txt"}),
        (("a.src", "a.tgt"), {"columns.source": None, "columns.target": None}),
    ],
)
def test_layouts(tmp_path: Path, names: tuple[str, str], chosen: dict[str, Any]):
    contents = [gzip.compress(t.encode()) if n.endswith(".gz") else t.encode() for n, t in zip(names, (EN, DE))]
    source = opened(write(tmp_path, dict(zip(names, contents, strict=True))), **chosen)
    assert pairs(source) == THREE
    assert not source.has_pictures


def test_archives_are_read_like_folders(tmp_path: Path):
    for name in ("pairs.zip", "pairs.tar"):
        assert pairs(opened(write(tmp_path / name, {"x/train.en": EN.encode(), "x/train.de": DE.encode()}))) == THREE


def test_either_way(tmp_path: Path):
    write(tmp_path, {"train.en": EN.encode(), "train.de": DE.encode(), "train.fr": b"un\ndeux\ntrois\n"})
    found = pairs(opened(tmp_path, **{"columns.source": "de", "columns.target": "fr"}))
    assert found == [("eins", "un"), ("zwei", "deux"), ("drei", "trois")]


def test_names_say_splits_and_others_beside_training_are_splits_of_their_own(tmp_path: Path):
    files = {
        f"{stem}.{end}": text.encode()
        for stem in ("train", "dev", "newstest")
        for end, text in zip(("en", "de"), (EN, DE))
    }
    source = opened(write(tmp_path, files))
    assert {name: len(split) for name, split in source.splits.items()} == {"train": 3, "val": 3, "newstest": 3}
    assert source.splits["val"].record(1).id == "dev, line 2"


def test_without_named_splits_a_share_is_taken(tmp_path: Path):
    lines = "".join(f"{i}\n" for i in range(400)).encode()
    write(tmp_path, {"a.en": lines, "a.de": lines, "b.en": lines, "b.de": lines})
    source = opened(tmp_path, **{"splits.val": 0.25})
    assert sum(map(len, source.splits.values())) == 800
    assert 120 < len(source.splits["val"]) < 280


def test_blank_pairs_are_left_out_and_counted(tmp_path: Path):
    write(tmp_path, {"train.en": b"one\n\nthree\n  \n", "train.de": b"eins\nzwei\n\t\n\n"})
    source = opened(tmp_path)
    assert pairs(source) == [("one", "eins")]
    assert source.notes.empty == {
        "source": ("train.en, line 2", "train.en, line 4"),
        "target": ("train.de, line 3", "train.de, line 4"),
    }
    assert source.notes.without_texts == ("train, line 2", "train, line 3", "train, line 4")
    config = override(DataConfig(source=str(tmp_path)), {"columns.source": "en", "columns.target": "de"})
    kinds = {problem.kind: problem.count for problem in check(config).problems}
    assert kinds == {"empty sources": 2, "empty targets": 2, "samples with empty texts only": 3}


def test_the_same_pair_in_two_splits_is_reported(tmp_path: Path):
    files = {"train.en": b"one\ntwo\none\n", "train.de": b"eins\nzwei\nein\n", "val.en": b"two\n", "val.de": b"zwei\n"}
    config = override(DataConfig(source=str(write(tmp_path, files))), {"columns.source": "en", "columns.target": "de"})
    report = check(config)
    assert {p.kind: p.examples for p in report.problems} == {
        "duplicate samples": ["train, line 2 = val, line 1"],
        "split leakage": ["train, line 2 in train = val, line 1 in val"],
    }
    assert report.ok


def test_line_ends_and_marks(tmp_path: Path):
    write(tmp_path, {"train.en": "\ufeffone\r\ntwo\u2028still two".encode(), "train.de": b"eins\nzwei\n"})
    assert pairs(opened(tmp_path)) == [("one", "eins"), ("two\u2028still two", "zwei")]


BOTH = {"train.en": EN.encode(), "train.de": DE.encode()}
REFUSED = [
    (BOTH | {"train.de": b"eins\n"}, {}, "DIR: train.en has 3 lines, train.de 1: line N of one should"),
    (BOTH | {"val.en": EN.encode()}, {}, "DIR: val.en has no partner: no file val.de (.txt, .gz)"),
    (BOTH | {"val.de": DE.encode()}, {}, "DIR: val.de has no partner: no file val.en (.txt, .gz)"),
    (BOTH, {"columns.target": "dee"}, "data.columns.target: unknown ending of a text file 'dee'; did you mean 'de'?"),
    (BOTH, {"columns.target": None}, "data.columns.source=en: of two files of text both have to be named"),
    (BOTH, {"columns.source": None}, "data.columns.target=de: of two files of text both have to be named"),
    (BOTH, {"columns.target": "en"}, "data.columns.source and data.columns.target are both 'en'"),
    (BOTH | {"train.en.txt": b""}, {}, "DIR: train.en and train.en.txt are the same text twice: keep one of them"),
    (BOTH, {"images": "photos"}, "data.images=photos: files of text have no pictures"),
    (BOTH, {"columns.split": "split"}, "data.columns.split=split: files of text have no columns"),
    (BOTH, {"columns.source": None, "columns.target": None}, "DIR: parallel texts in de, en: say what is translated"),
    (BOTH | {"train.de": b"eins\nzw\xe9i\ndrei\n"}, {}, "DIR/train.de, line 2: byte 0xe9 is not UTF-8"),
    ({"train.en.gz": b"one\n", "train.de": b"eins\n"}, {}, "DIR: train.en.gz: damaged or cut short"),
    ({"train.en.gz": gzip.compress(b"one\n" * 99)[:-9], "train.de": b"e\n" * 99}, {}, "train.en.gz: damaged or cut"),
    ({"train.en": b"", "train.de": b""}, {}, "DIR: the data set is empty: train.en and train.de hold no pair of lines"),
    ({"train.en": b"\n", "train.de": b"\n"}, {}, "DIR: the data set is empty"),
    ({"readme": b"x"}, {}, "DIR: data.columns.source: unknown ending of a text file 'en'"),
    ({"readme": b"x"}, {"columns.source": None, "columns.target": None}, "DIR: no table of source and targets"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "chosen", "message"), REFUSED)
def test_refusals(tmp_path: Path, files: dict[str, bytes], chosen: dict[str, Any], message: str):
    assert message in refusal(write(tmp_path, files), **chosen)


def test_pictures_are_not_taken_for_texts(tmp_path: Path):
    write(tmp_path, {"cat/a.jpg": b"", "cat/a.xml": b"", "dog/b.jpg": b"", "dog/b.xml": b""})
    source = open_source(DataConfig(source=str(tmp_path)), Fields((), ("label", "source", "target"), image=None))
    assert source.has_pictures


@pytest.mark.parametrize("name", ["pairs.tsv", "pairs.csv", "pairs.jsonl"])
def test_tables_of_pairs(tmp_path: Path, name: str):
    between = {"pairs.tsv": "\t", "pairs.csv": ","}.get(name)
    rows = [("src", "tgt"), ("one", "eins"), ("two", "zwei"), ("", "drei")]
    text = "\n".join(between.join(row) for row in rows) if between else ""
    if not between:
        text = "\n".join(json.dumps(dict(zip(rows[0], row, strict=True))) for row in rows[1:])
    path = write(tmp_path, {name: text.encode()}) / name
    source = opened(path, **{"columns.source": "src", "columns.target": "tgt"})
    assert pairs(source) == [("one", "eins"), ("two", "zwei")]
    assert len(source.notes.empty["source"]) == 1


def test_several_references(tmp_path: Path):
    text = json.dumps({"source": "one", "target": ["eins", "ein"]})
    path = write(tmp_path, {"pairs.jsonl": text.encode()}) / "pairs.jsonl"
    [record] = [opened(path, **{"columns.source": None, "columns.target": None}).splits["train"].record(0)]
    assert record.texts["target"] == ("eins", "ein")
