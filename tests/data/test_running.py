"""Running text: files of text and of token ids, whole, in shares and by name; and what is wrong with them."""

from __future__ import annotations

import gzip
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patchword.config import BPETokenizerConfig, CharactersTokenizerConfig, DataConfig, Fields, UserError, override
from patchword.data.doctor import check
from patchword.data.sources import open_source
from patchword.data.text import Tokenizer
from patchword.data.token_bins import TokenSplit

TEXT = Fields(("text",), image=False)
PLAY = "".join(f"Line {i}:\n\n  zwölf  Boxkämpfer, jagen!\tViktor\n" for i in range(40))


def opened(path: Path, **changes: Any) -> Any:
    found: Any = open_source(override(DataConfig(source=str(path)), changes), TEXT)
    return found


def texts(source: Any, split: str) -> list[str]:
    part = source.splits[split]
    return [text for i in range(len(part)) for text in part.record(i).texts["text"]]


def write(folder: Path, name: str, text: str | bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


# ------------------------------------------------------------------ text


@pytest.mark.parametrize("name", ["input.txt", "input.txt.gz"])
@pytest.mark.parametrize("whole", [True, False], ids=["folder", "file"])
def test_one_file_gives_its_tail(tmp_path: Path, name: str, whole: bool) -> None:
    path = write(tmp_path, name, PLAY)
    source = opened(tmp_path if whole else path)
    cut = int(len(PLAY) * 0.9)
    assert list(source.splits) == ["train", "val"]
    assert texts(source, "train") == [PLAY[:cut]]
    assert texts(source, "val") == [PLAY[cut:]]
    source = opened(path, **{"splits.val": 0.2, "splits.test": 0.3})
    cuts = [int(len(PLAY) * share) for share in (0.5, 0.7)]
    assert [texts(source, n) for n in ("train", "val", "test")] == [
        [PLAY[: cuts[0]]],
        [PLAY[cuts[0] : cuts[1]]],
        [PLAY[cuts[1] :]],
    ]


def test_names_say_splits(tmp_path: Path) -> None:
    write(tmp_path, "wiki/train.txt", "a\nb\n")
    write(tmp_path, "wiki/valid.txt.gz", "c\n")
    write(tmp_path, "test/part.txt", "d\n")
    write(tmp_path, "README.txt", "about")
    source = opened(tmp_path)
    assert {n: texts(source, n) for n in source.splits} == {"train": ["a\nb\n"], "val": ["c\n"], "test": ["d\n"]}
    assert source.splits["val"].record(0).id == "wiki/valid.txt.gz"


def test_a_training_file_alone_gives_its_tail_for_what_is_not_there(tmp_path: Path) -> None:
    write(tmp_path, "train.txt", PLAY)
    write(tmp_path, "test.txt", "test")
    source = opened(tmp_path, **{"splits.test": 0.5})
    assert texts(source, "test") == ["test"]
    assert texts(source, "train")[0] + texts(source, "val")[0] == PLAY


def test_every_book_gives_its_tail(tmp_path: Path) -> None:
    write(tmp_path, "one.txt", "a" * 100)
    write(tmp_path, "two.txt", "b" * 50)
    write(tmp_path, "three.txt", "")
    source = opened(tmp_path)
    assert texts(source, "val") == ["a" * 10, "b" * 5]
    assert source.notes.without_texts == ("three.txt",)


def test_an_archive_of_texts(tmp_path: Path) -> None:
    path = tmp_path / "texts.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train.txt", "x" * 20)
        archive.writestr("val.txt", "y")
    assert texts(opened(path), "val") == ["y"]


def test_the_doctor_reads_text(tmp_path: Path) -> None:
    report = check(DataConfig(source=str(write(tmp_path, "input.txt", PLAY))))
    assert report.ok
    assert not report.problems
    assert report.count == 2
    assert report.words["text"].max > 100


def test_tables_and_scenes_have_text(tmp_path: Path) -> None:
    rows = [{"content": f"text\nnumber {i}"} for i in range(40)]
    write(tmp_path, "a/docs.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write(tmp_path, "b/docs.csv", "split,caption\ntrain,one\ntrain,two\nval,three\n")
    source = opened(tmp_path / "a")
    assert sorted(texts(source, "train") + texts(source, "val")) == sorted(row["content"] for row in rows)
    assert texts(opened(tmp_path / "b" / "docs.csv"), "train") == ["one", "two"]
    scenes = open_source(override(DataConfig(), {"scenes.train": 3}), TEXT)
    captions = open_source(override(DataConfig(), {"scenes.train": 3}), Fields(("caption",)))
    assert scenes.splits["train"].record(1).texts["text"] == captions.splits["train"].record(1).texts["caption"]


def test_a_caption_is_not_read_twice(tmp_path: Path) -> None:
    write(tmp_path, "docs.csv", "split,caption\ntrain,one\n")
    source = open_source(DataConfig(source=str(tmp_path)), Fields((), ("caption", "text"), image=False))
    assert dict(source.splits["train"].record(0).texts) == {"caption": ("one",)}


@pytest.mark.parametrize(
    ("files", "changes", "said"),
    [
        ({"input.txt": ""}, {}, "input.txt: nothing is in it"),
        ({"input.txt": "ab\ncd\xff".encode("latin-1")}, {}, "input.txt, line 2: byte 0xff is not UTF-8"),
        ({"input.txt": "x"}, {"splits.val": 0.5, "splits.test": 0.5}, None),
        ({"input.txt": "abc"}, {"columns.text": "body"}, "data.columns.text=body: files of text have no columns"),
        ({"input.txt": "abc"}, {"splits.lists": {"val": "v.txt"}}, "data.splits.lists: .* call them train.txt"),
        ({"input.txt": "abc"}, {"images": "x"}, "data.images=x: there are only files of text"),
        ({"readme.txt": "abc"}, {}, "no table of texts"),
    ],
)
def test_what_is_wrong_is_said(
    tmp_path: Path, files: dict[str, str | bytes], changes: dict[str, Any], said: str | None
) -> None:
    for name, text in files.items():
        write(tmp_path, name, text)
    if said is None:
        assert "train" not in opened(tmp_path, **changes).splits
        return
    with pytest.raises(UserError, match=said):
        opened(tmp_path, **changes)


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    path = write(tmp_path, "input.txt.gz", PLAY)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"input.txt.gz: damaged or cut short"):
        opened(tmp_path)


def test_a_task_that_needs_more_than_text_refuses_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is running text, but caption are needed"):
        open_source(DataConfig(source=str(write(tmp_path, "input.txt", "abc"))), Fields(("caption",)))


# ------------------------------------------------------------------ token ids


def bins(folder: Path, **parts: list[int]) -> None:
    for name, ids in parts.items():
        write(folder, f"{name}.bin", np.array(ids, dtype="<u2").tobytes())


def test_ids_are_read_where_they_lie(tmp_path: Path) -> None:
    bins(tmp_path, train=[1, 2, 65535], val=[0])
    write(tmp_path, "input.txt", "what they were made from")
    source = opened(tmp_path)
    assert {name: part.ids.tolist() for name, part in source.splits.items()} == {"train": [1, 2, 65535], "val": [0]}
    assert isinstance(source.splits["train"].ids, np.memmap)
    assert source.splits["train"].record(0) == ("train.bin", {})
    assert source.tokenizer is None


def test_one_file_of_ids_gives_its_tail(tmp_path: Path) -> None:
    bins(tmp_path, corpus=list(range(20)))
    source = opened(tmp_path / "corpus.bin")
    assert source.splits["val"].ids.tolist() == [18, 19]
    whole = TokenSplit("train", [("a", np.arange(3)), ("b", np.arange(2))])
    assert whole.ids.tolist() == [0, 1, 2, 0, 1]


def test_ids_of_characters_mean_what_nanogpt_wrote(tmp_path: Path) -> None:
    symbols = sorted(set("hello\nworld "))
    meta = {"vocab_size": len(symbols), "itos": dict(enumerate(symbols)), "stoi": {c: i for i, c in enumerate(symbols)}}
    write(tmp_path, "meta.json", json.dumps(meta))
    bins(tmp_path, train=[meta["stoi"][c] for c in "hello world\n"], val=[0, 1])
    tokenizer = opened(tmp_path).tokenizer
    assert tokenizer.vocab_size == len(symbols)
    assert tokenizer.encode_stream("low\nd ") == [meta["stoi"][c] for c in "low\nd "]
    assert tokenizer.decode(tokenizer.encode_stream("hello world\n")) == "hello world\n"


def test_ids_mean_what_a_tokenizer_says(tmp_path: Path) -> None:
    made = Tokenizer.train(BPETokenizerConfig(vocab_size=300, lowercase=False, special_tokens=False), [PLAY])
    made.save(tmp_path / "tokenizer.json")
    bins(tmp_path, train=made.encode_stream(PLAY), val=[0, 1])
    source = opened(tmp_path)
    assert source.tokenizer.decode(source.splits["train"].ids.tolist()) == PLAY


@pytest.mark.parametrize(
    ("name", "meta", "said"),
    [
        ("meta.pkl", pickle.dumps({"itos": {0: "a"}}), "a pickle may hold any program and is not read"),
        ("meta.json", b'{"itos": {"0": "ab"}}', "one character for each id"),
        ("meta.json", b'{"itos": {"1": "a"}}', "not the characters of a nanoGPT data set"),
        ("meta.json", b'{"stoi": {}}', "not the characters of a nanoGPT data set"),
        ("meta.json", b"[]", "not the characters of a nanoGPT data set"),
        ("meta.json", b"\x80", "not the characters of a nanoGPT data set"),
    ],
)
def test_what_the_ids_mean_is_no_program(tmp_path: Path, name: str, meta: bytes, said: str) -> None:
    bins(tmp_path, train=[1, 2, 3], val=[0])
    write(tmp_path, name, meta)
    with pytest.raises(UserError, match=said):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("data", "said"), [(b"", "nothing is in it"), (b"\0\1\2", "3 bytes are no whole number of tokens of 2 bytes")]
)
def test_broken_ids_are_refused(tmp_path: Path, data: bytes, said: str) -> None:
    write(tmp_path, "train.bin", data)
    with pytest.raises(UserError, match=said):
        opened(tmp_path)


def test_a_broken_tokenizer_is_said(tmp_path: Path) -> None:
    bins(tmp_path, train=[1, 2, 3], val=[0])
    write(tmp_path, "tokenizer.json", "{")
    with pytest.raises(UserError, match=r"cannot read tokenizer .*tokenizer.json"):
        opened(tmp_path)


def test_characters_need_no_lower_case() -> None:
    config = CharactersTokenizerConfig(lowercase=False, special_tokens=False)
    tokenizer = Tokenizer.train(config, [PLAY])
    assert tokenizer.vocab_size == len(set(PLAY))
    assert tokenizer.decode(tokenizer.encode_stream(PLAY)) == PLAY
