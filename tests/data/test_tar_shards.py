"""Pairs of a picture and a JSON of its name: in tars as WebDataset writes them, in a folder of tars, loose."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from patchword.config import DataConfig, Fields, UserError
from patchword.data.doctor import check
from patchword.data.file_source import NotedSource
from patchword.data.sources import open_source

CAPTIONS, LABELS = Fields(("caption",)), Fields(("label",))


def picture(shade: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((6, 8, 3), shade, np.uint8)).save(out, "PNG")
    return out.getvalue()


def sample(key: str, shade: int, **said: Any) -> dict[str, bytes]:
    return {f"{key}.png": picture(shade), f"{key}.json": json.dumps(said).encode()}


def tar(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as out:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return path


def opened(path: Path, fields: Fields = CAPTIONS, **settings: Any) -> NotedSource:
    return open_source(DataConfig.from_dict({"source": str(path), **settings}), fields)


def said(source: NotedSource, split: str, field: str = "caption") -> dict[str, tuple[str, ...]]:
    part = source.splits[split]
    return {record.id: record.texts[field] for record in map(part.record, range(len(part)))}


def test_one_tar(tmp_path: Path) -> None:
    """Captions are texts or lists; what else the JSON says is nobody's business, least of all its own `image`."""
    files = sample("0001", 10, caption="a", url="x", image="http://elsewhere/1.jpg")
    files |= sample("sub.part/0002", 20, caption=["b", "c"])
    source = opened(tar(tmp_path / "all.tar", files), splits={"val": 0.0})
    assert said(source, "train") == {"0001.png": ("a",), "sub.part/0002.png": ("b", "c")}
    part = source.splits["train"]
    assert [part.read(i) for i in range(2)] == [picture(10), picture(20)]


def test_a_folder_of_tars(tmp_path: Path) -> None:
    """Keys that stand in several tars are several samples, whatever the tars are called."""
    for number in range(3):
        tar(tmp_path / "shards" / f"{number:05d}.tar", sample("7", number, caption=f"number {number}"))
    source = opened(tmp_path / "shards", splits={"val": 0.0})
    assert said(source, "train") == {f"{n:05d}/7.png": (f"number {n}",) for n in range(3)}
    assert [source.splits["train"].read(i) for i in range(3)] == [picture(n) for n in range(3)]


def test_names_of_tars_say_the_split(tmp_path: Path) -> None:
    for name in ("train-000000", "train-000001", "val-000000"):
        tar(tmp_path / f"{name}.tar", sample("a", 1, caption=name) | sample("b", 2, caption=f"{name} b"))
    source = opened(tmp_path)
    assert {split: len(part) for split, part in source.splits.items()} == {"train": 4, "val": 2}
    assert set(said(source, "val").values()) == {("val-000000",), ("val-000000 b",)}


def test_loose_files_and_labels(tmp_path: Path) -> None:
    """Names with several dots; a number is a label, too."""
    for key, label in (("cat.1", 3), ("cat.2", 5)):
        for name, content in sample(key, label, label=label).items():
            (tmp_path / name).write_bytes(content)
    assert said(opened(tmp_path, LABELS, splits={"val": 0.0}), "train", "label") == {
        "cat.1.png": ("3",),
        "cat.2.png": ("5",),
    }


def test_a_table_is_what_counts(tmp_path: Path) -> None:
    files = sample("1", 1, caption="from the json") | {"captions.csv": b"image,caption\n1.png,from the table\n"}
    assert said(opened(tar(tmp_path / "a.tar", files), splits={"val": 0.0}), "train") == {"1.png": ("from the table",)}


def test_what_is_missing_is_counted(tmp_path: Path) -> None:
    """A JSON without its picture is a bad sample; a picture without its JSON is one that nothing is said of."""
    files = sample("1", 1, caption="a") | sample("2", 2, caption="b") | sample("3", 3, caption="c")
    del files["2.png"], files["3.json"]
    report = check(DataConfig(source=str(tar(tmp_path / "a.tar", files))), fields=CAPTIONS)
    assert (report.ok, report.count, report.bad, report.not_in_table) == (False, 2, 1, 1)
    assert {found.kind: found.count for found in report.problems} == {"missing": 1}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (sample("1", 1, caption="a") | {"1.json": b"{"}, r"a\.tar/1\.json: not JSON at column 2: "),
        (sample("1", 1) | {"1.json": b'{"caption":\n"\xff"}'}, r"1\.json, line 2: byte 0xff is not UTF-8; save"),
        (sample("1", 1) | {"1.json": b"[" * 9**6}, r"1\.json: JSON that cannot be read"),
        (
            sample("1", 1, caption="a") | {"1.json": b"[1, 2]"},
            r"a\.tar/1\.json: should be an object, got '\[1, 2\]'.*data\.table=",
        ),
        (sample("1", 1, captoin="a"), "no column for the caption.*data.columns.caption=captoin"),
        (sample("1", 1, caption=4), r"sample 1: column 'caption' should be a caption or a list of them, got 4"),
        (sample("1", 1, caption=""), "the data set is empty"),
    ],
)
def test_what_is_wrong_is_said(files: dict[str, bytes], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        opened(tar(tmp_path / "a.tar", files))
