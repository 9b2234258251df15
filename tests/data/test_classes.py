"""Sources of classes: folders, names, tables, idx files, parquet, several tars; and what is wrong with them."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from written import write

from patchword.config import ClassificationTaskConfig, ColumnsConfig, DataConfig, Fields, SplitsConfig, UserError
from patchword.data.base import Source
from patchword.data.doctor import check
from patchword.data.file_source import NotedSource
from patchword.data.sources import open_source

CHOICE = random.Random(5)


def picture() -> bytes:
    noise = np.frombuffer(CHOICE.randbytes(8 * 6 * 3), dtype=np.uint8).reshape(6, 8, 3)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, "PNG")
    return out.getvalue()


LABELS = ClassificationTaskConfig().fields


def opened(source: str | Path, fields: Fields = LABELS, **settings: Any) -> NotedSource:
    return open_source(DataConfig(source=str(source), **settings), fields)


def labels_in(source: Source) -> dict[str, dict[str, tuple[str, ...]]]:
    return {
        name: {split.record(i).id: split.record(i).texts["label"] for i in range(len(split))}
        for name, split in source.splits.items()
    }


def refusal(source: str | Path, **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        opened(source, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


ALL = SplitsConfig(val=0.0)


# ------------------------------------------------------------------ folders and names


@pytest.mark.parametrize("suffix", ["", ".tar", ".zip"])
@pytest.mark.parametrize("top", ["", "pets/", "pets/photos/"])
def test_folders_are_classes(suffix: str, top: str, tmp_path: Path) -> None:
    names = ["cat/1.png", "cat/2.png", "dog/1.png", "dog/old/3.png"]
    files = {top + name: picture() for name in names}
    source = opened(write(tmp_path / f"data{suffix}", files | {"README.md": b"#"}), splits=ALL)
    expected = {top + name: (name[:3],) for name in names}
    assert labels_in(source) == {"train": expected}
    split = pickle.loads(pickle.dumps(source)).splits["train"]
    assert {split.record(i).id: split.read(i) for i in range(4)} == files


@pytest.mark.parametrize("top", ["", "pets/"])
def test_folders_are_splits(top: str, tmp_path: Path) -> None:
    names = ["Training/cat/1.png", "Training/dog/1.png", "valid/cat/1.png", "test-0/dog/7.png", "extra/cat/9.png"]
    source = opened(write(tmp_path / "data", {top + name: picture() for name in names}))
    assert labels_in(source) == {
        "train": {top + names[0]: ("cat",), top + names[1]: ("dog",)},
        "val": {top + names[2]: ("cat",)},
        "test": {top + names[3]: ("dog",)},
    }
    assert source.notes.in_no_split == (top + names[4],)


def test_a_training_part_alone_gives_a_share_for_validation(tmp_path: Path) -> None:
    files = {f"train/{'cat' if i % 2 else 'dog'}/{i}.png": b"x" for i in range(400)} | {"test/cat/0.png": b"x"}
    source = opened(write(tmp_path / "data", files), splits=SplitsConfig(val=0.2, test=0.5))
    counts = {name: len(split) for name, split in source.splits.items()}
    assert counts["test"] == 1  # there is one already: no share is taken for it
    assert 50 < counts["val"] < 110
    assert counts["train"] + counts["val"] == 400


def test_names_tell_classes(tmp_path: Path) -> None:
    names = ["train/cat.0.png", "train/dog.11.png", "train/hot dog.2.png", "test1/7.png"]
    for path in (tmp_path / "a", tmp_path / "a.zip"):
        source = opened(write(path, {name: picture() for name in names}), splits=ALL)
        assert labels_in(source) == {
            "train": {names[0]: ("cat",), names[1]: ("dog",), names[2]: ("hot dog",)},
        }
        assert source.notes.not_in_table == 1


def test_folders_come_before_names(tmp_path: Path) -> None:
    files = {f"{kind}s/{kind}.{i}.png": picture() for kind in ("cat", "dog") for i in range(2)}
    assert set(labels_in(opened(write(tmp_path / "x", files), splits=ALL))["train"].values()) == {("cats",), ("dogs",)}


def test_tars_whose_names_say_the_split_are_one_source(tmp_path: Path) -> None:
    parts = {
        "train-00": ["train/cats/cat.1.png"],
        "train-01": ["train/dogs/dog.1.png"],
        "val": ["dogs/1.png", "cats/1.png"],
    }
    for name, members in parts.items():
        write(tmp_path / f"{name}.tar", {member: picture() for member in members})
    (tmp_path / "README.md").write_text("# pets")
    source = opened(str(tmp_path))
    assert labels_in(source) == {
        "train": {"train-00/train/cats/cat.1.png": ("cats",), "train-01/train/dogs/dog.1.png": ("dogs",)},
        "val": {"val/cats/1.png": ("cats",), "val/dogs/1.png": ("dogs",)},
    }
    assert bytes(source.splits["val"].read(0)).startswith(b"\x89PNG")
    (tmp_path / "val.tar").rename(tmp_path / "other.tar")
    assert "3 places with pictures" in refusal(str(tmp_path))


# ------------------------------------------------------------------ tables


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.json", "t.jsonl"])
@pytest.mark.parametrize("column", ["label", "Class"])
def test_tables_tell_classes(name: str, column: str, tmp_path: Path) -> None:
    rows = [{"image": "a.png", column: 3}, {"image": "b.png", column: "cat"}, {"image": "b.png", column: "cat"}]
    sign = {"t.csv": ",", "t.tsv": "\t"}.get(name)
    if sign:
        text = "\n".join([sign.join(rows[0]), *(sign.join(map(str, row.values())) for row in rows)]) + "\n"
    else:
        text = json.dumps(rows) if name == "t.json" else "\n".join(map(json.dumps, rows))
    source = opened(write(tmp_path, {name: text.encode(), "a.png": picture(), "b.png": picture()}), splits=ALL)
    assert labels_in(source) == {"train": {"a.png": ("3",), "b.png": ("cat",)}}


def test_tables_whose_names_say_the_split_are_one_source(tmp_path: Path) -> None:
    files = {f"{part}.csv": f"image,label\n{part}.png,x\n".encode() for part in ("train", "val", "test")}
    write(tmp_path, files | {f"{part}.png": picture() for part in ("train", "val", "test")})
    assert labels_in(opened(str(tmp_path))) == {part: {f"{part}.png": ("x",)} for part in ("train", "val", "test")}
    (tmp_path / "val.csv").rename(tmp_path / "more.csv")
    assert "3 tables" in refusal(str(tmp_path))


def parquet(path: Path, rows: list[dict[str, Any]], names: list[str] | None = None) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.Table.from_pylist(rows)
    if names is not None:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pytest.importorskip("pyarrow.parquet").write_table(table, path)


def test_parquet_may_hold_its_pictures(tmp_path: Path) -> None:
    one, two, three = picture(), picture(), picture()
    rows = [
        {"img": {"bytes": one, "path": "a.png"}, "label": 0},
        {"img": {"bytes": two, "path": None}, "label": 1},
        {"img": {"bytes": three, "path": "a.png"}, "label": 1},
    ]
    parquet(tmp_path / "named" / "train-00000-of-00001.parquet", rows, ["cat", "dog"])
    split = pickle.loads(pickle.dumps(opened(str(tmp_path / "named"), splits=ALL))).splits["train"]
    assert [split.read(i) for i in range(3)] == [one, two, three]
    assert [split.record(i).texts["label"] for i in range(3)] == [("cat",), ("dog",), ("dog",)]
    assert len({split.record(i).id for i in range(3)}) == 3
    parquet(tmp_path / "t.parquet", [row | {"img": row["img"]["bytes"]} for row in rows])
    numbers = opened(str(tmp_path / "t.parquet"), splits=ALL).splits["train"]
    assert [numbers.record(i).texts["label"] for i in range(3)] == [("0",), ("1",), ("1",)]


# ------------------------------------------------------------------ idx files


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


PIXELS = np.random.default_rng(0).integers(0, 256, (5, 4, 6), dtype=np.uint8)
DIGITS = np.array([7, 0, 7, 2, 1], dtype=np.uint8)
IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def test_idx_files(tmp_path: Path) -> None:
    files = {f"{IMAGES}.gz": gzip.compress(idx(PIXELS)), LABELS: idx(DIGITS)}
    files |= {"t10k-images.idx3-ubyte": idx(PIXELS[:2]), "t10k-labels.idx1-ubyte": idx(DIGITS[:2])}
    source = opened(write(tmp_path, files), splits=ALL)
    assert labels_in(source) == {
        "train": {f"train/{i}": (str(d),) for i, d in enumerate(DIGITS)},
        "test": {"test/0": ("7",), "test/1": ("0",)},
    }
    for i in range(5):
        pixels = source.splits["train"].read(i)
        assert np.array_equal(pixels, np.repeat(PIXELS[i, :, :, None], 3, 2))


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({IMAGES: idx(PIXELS)}, "has no file of labels beside it"),
        ({LABELS: idx(DIGITS)}, "has no file of images beside it"),
        ({IMAGES: idx(PIXELS), LABELS: idx(DIGITS[:4])}, "has 5 pictures"),
        ({IMAGES: idx(PIXELS)[:-1], LABELS: idx(DIGITS)}, "its header says 5 x 4 x 6 bytes, 119 follow"),
        ({IMAGES: b"\0\0", LABELS: idx(DIGITS)}, "not an idx file"),
        ({IMAGES: idx(DIGITS), LABELS: idx(DIGITS)}, "along 3 axes, not type 8 along 1"),
        ({f"{IMAGES}.gz": gzip.compress(idx(PIXELS))[:-9], LABELS: idx(DIGITS)}, "damaged or cut short"),
        ({IMAGES: idx(PIXELS), f"{IMAGES}.gz": b"", LABELS: idx(DIGITS)}, "are the same images"),
        ({IMAGES: idx(PIXELS[:0]), LABELS: idx(DIGITS[:0])}, "the data set is empty"),
        ({IMAGES: idx(PIXELS[:, :0]), LABELS: idx(DIGITS)}, "5 x 0 x 6 bytes: pictures without pixels"),
        (
            {IMAGES: idx(PIXELS[:0])[:4] + struct.pack(">3I", 2**31, 2**31, 4), LABELS: idx(DIGITS)},
            "x 4 bytes, 0 follow",
        ),
    ],
)
def test_what_is_wrong_with_idx_files(files: dict[str, bytes], said: str, tmp_path: Path) -> None:
    assert said in refusal(write(tmp_path, files))


# ------------------------------------------------------------------ messages


PNG = picture()


@pytest.mark.parametrize(
    ("files", "settings", "said"),
    [
        ({"a.png": PNG}, {}, "nothing tells classes"),
        ({"cat/a.png": PNG}, {}, "nothing tells classes"),
        (
            {"t.csv": b"image,caption\na.png,x\n", "a.png": PNG},
            {},
            "no column for the label (label, labels",
        ),
        ({"t.csv": b"image,lable\na.png,x\n", "a.png": PNG}, {}, "data.columns.label=lable"),
        ({"t.csv": b"image,label\na.png,\n", "a.png": PNG}, {}, "is empty: 1 pictures, none with a label"),
        (
            {"t.json": b'[{"image": "a.png", "label": 1.5}]', "a.png": PNG},
            {},
            "column 'label' should be a class",
        ),
        ({"cat/a.png": PNG, "dog/a.png": PNG}, {"columns": ColumnsConfig(label="x")}, "there is no table in"),
        (
            {"t.csv": b"image,label\na.png,x\n", "a.png": PNG},
            {"columns": ColumnsConfig(caption="image")},
            "data.columns.caption=image: this task reads no caption",
        ),
        ({"cat/a.png": PNG, "dog/a.png": PNG}, {"splits": SplitsConfig(val=1.0)}, "no picture is left to train on"),
    ],
)
def test_what_is_wrong_is_said(files: dict[str, bytes], settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    for name in ("data", "data.zip"):
        assert said in refusal(write(tmp_path / name, files), **settings)


def test_lists_choose_splits_of_folders(tmp_path: Path) -> None:
    files = {f"{kind}/{i}.png": picture() for kind in ("cat", "dog") for i in range(3)}
    lists = SplitsConfig(lists={"train": "a.txt", "test": "b.txt"})
    source = opened(
        write(tmp_path, files | {"a.txt": b"cat/1.png\ndog/2.png\n", "b.txt": b"cat/0.png\n"}), splits=lists
    )
    assert labels_in(source) == {
        "train": {"cat/1.png": ("cat",), "dog/2.png": ("dog",)},
        "test": {"cat/0.png": ("cat",)},
    }


# ------------------------------------------------------------------ texts without pictures, and the doctor


def test_sources_without_pictures(tmp_path: Path) -> None:
    write(tmp_path, {"t.tsv": b"source\ttarget\na dog\tein Hund\na cat\t\na dog\tein Hund\n"})
    pairs = Fields(("source", "target"), image=False)
    source = opened(str(tmp_path), pairs, splits=ALL)
    assert not source.has_pictures
    split = source.splits["train"]
    assert [split.record(i) for i in range(2)] == [
        ("line 2", {"source": ("a dog",), "target": ("ein Hund",)}),
        ("line 4", {"source": ("a dog",), "target": ("ein Hund",)}),
    ]
    assert source.notes.empty == {"target": (f"{tmp_path}/t.tsv, line 3",)}
    report = check(DataConfig(source=str(tmp_path), splits=ALL), fields=pairs)
    assert (report.ok, report.count, report.pictures) == (True, 2, False)
    assert report.splits["train"].texts == {"source": 2, "target": 2}
    assert any("words in a source: 2" in line for line in report.lines())


def test_parallel_texts_of_a_picture_stay_parallel(tmp_path: Path) -> None:
    rows = b"image,question,answer\na.png,what?,dog\na.png,how many?,\na.png,where?,dog\n"
    split = opened(
        write(tmp_path, {"t.csv": rows, "a.png": picture()}), Fields(("question", "answer")), splits=ALL
    ).splits["train"]
    assert split.record(0).texts == {"question": ("what?", "where?"), "answer": ("dog", "dog")}


def test_the_doctor_counts_labels(tmp_path: Path) -> None:
    files = {f"train/{kind}/{i}.png": picture() for kind, n in (("cat", 3), ("dog", 2)) for i in range(n)}
    files |= {"val/eel/0.png": picture(), "val/cat/0.png": picture()}
    report = check(DataConfig(source=str(write(tmp_path, files))))
    assert report.splits["train"].labels == {"cat": 3, "dog": 2}
    assert {p.kind: p.examples for p in report.problems} == {"labels that training lacks": ["eel in val: 1"]}
    assert "    cat 3, dog 2" in list(report.lines())
    assert report.ok
    assert json.dumps(report.to_json())


def test_the_doctor_sees_pictures_of_several_labels(tmp_path: Path) -> None:
    write(tmp_path, {"t.csv": b"image,label\na.png,cat\na.png,dog\n", "a.png": picture()})
    [problem] = check(DataConfig(source=str(tmp_path), splits=ALL)).problems
    assert (problem.kind, problem.examples) == ("samples of several labels", ["a.png: cat, dog"])


@pytest.mark.parametrize(
    ("name", "count", "classes"),
    [("mnist", 60_000, set("0123456789")), ("cats_vs_dogs", 23_000, {"cats", "dogs"})],
)
def test_the_shared_data_sets(name: str, count: int, classes: set[str], shared: Path) -> None:
    source = opened(str(shared / "data" / name))
    assert sum(map(len, source.splits.values())) == count
    assert set(source.splits) == {"train", "val"}
    split = source.splits["val"]
    assert {split.record(i).texts["label"][0] for i in range(500)} == classes
