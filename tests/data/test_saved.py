"""Folders that `datasets` (Hugging Face) saved; written here as version 5 of it writes them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from patchword.config import DataConfig, Fields, UserError
from patchword.data.file_source import NotedSource
from patchword.data.sources import open_source

pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow (the datasets extra)")
ipc = pytest.importorskip("pyarrow.ipc")

CAPTIONS = Fields(("caption",))


def picture(shade: int) -> dict[str, Any]:
    out = io.BytesIO()
    Image.fromarray(np.full((6, 8, 3), shade, np.uint8)).save(out, "PNG")
    return {"bytes": out.getvalue(), "path": f"{shade}.png"}


def save(folder: Path, rows: list[dict[str, Any]], files: int = 1, classes: list[str] | None = None) -> None:
    """One split, as `Dataset.save_to_disk` lays it out."""
    folder.mkdir(parents=True)
    table = pyarrow.Table.from_pylist(rows)
    features = {"label": {"_type": "ClassLabel", "names": classes}} if classes else {}
    schema = table.schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    names = [f"data-{i:05d}-of-{files:05d}.arrow" for i in range(files)]
    size = -(-len(rows) // files)
    for i, name in enumerate(names):
        with ipc.new_stream(str(folder / name), schema) as out:
            for batch in table.slice(i * size, size).to_batches(max_chunksize=2):
                out.write_batch(pyarrow.RecordBatch.from_arrays(batch.columns, schema=schema))
    state = {"_data_files": [{"filename": name} for name in names], "_split": None}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))


def save_splits(folder: Path, splits: dict[str, list[dict[str, Any]]], **settings: Any) -> None:
    """Several, as `DatasetDict.save_to_disk` lays them out."""
    for name, rows in splits.items():
        save(folder / name, rows, **settings)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(splits)}))


def opened(path: Path, fields: Fields = CAPTIONS, **settings: Any) -> NotedSource:
    return open_source(DataConfig.from_dict({"source": str(path), **settings}), fields)


def rows_of(*shades: int) -> list[dict[str, Any]]:
    return [{"image": picture(n), "caption": [f"{n} a", f"{n} b"], "label": n % 2} for n in shades]


def test_splits_of_several_files(tmp_path: Path) -> None:
    save_splits(tmp_path / "d", {"train": rows_of(1, 2, 3, 4, 5), "validation": rows_of(6, 7)}, files=2)
    source = opened(tmp_path / "d")
    assert {name: len(part) for name, part in source.splits.items()} == {"train": 5, "val": 2}
    part = source.splits["train"]
    assert [part.record(i).texts["caption"] for i in range(5)] == [(f"{n} a", f"{n} b") for n in range(1, 6)]
    assert [part.read(i) for i in range(5)] == [picture(n)["bytes"] for n in range(1, 6)]


def test_one_split_is_shared_out(tmp_path: Path) -> None:
    save(tmp_path / "d", rows_of(*range(20)))
    source = opened(tmp_path / "d", splits={"val": 0.3})
    assert sum(map(len, source.splits.values())) == 20
    assert len(source.splits["val"]) > 0


def test_numbers_of_classes_have_names(tmp_path: Path) -> None:
    save(tmp_path / "d", rows_of(1, 2, 3), classes=["cat", "dog"])
    part = opened(tmp_path / "d", Fields(("label",)), splits={"val": 0.0}).splits["train"]
    assert sorted(part.record(i).texts["label"][0] for i in range(3)) == ["cat", "dog", "dog"]


def test_named_parts_of_a_cell_are_columns(tmp_path: Path) -> None:
    """As data sets of translations have them."""
    save(tmp_path / "d", [{"id": str(i), "translation": {"en": f"e{i}", "fr": f"f{i}"}} for i in range(4)])
    columns = {"source": "translation.en", "target": "translation.fr"}
    fields = Fields(("source", "target"), image=False)
    part = opened(tmp_path / "d", fields, columns=columns, splits={"val": 0.0}).splits["train"]
    assert [part.record(i).texts["target"] for i in range(4)] == [(f"f{i}",) for i in range(4)]


def test_pictures_beside_it_by_their_paths(tmp_path: Path) -> None:
    save(tmp_path / "d", [{"image": {"bytes": None, "path": "photos/1.png"}, "caption": "a"}])
    (tmp_path / "d" / "photos").mkdir()
    (tmp_path / "d" / "photos" / "1.png").write_bytes(picture(9)["bytes"])
    assert opened(tmp_path / "d", splits={"val": 0.0}).splits["train"].read(0) == picture(9)["bytes"]


def test_a_split_without_rows(tmp_path: Path) -> None:
    save(tmp_path / "d" / "train", rows_of(1, 2))
    save(tmp_path / "d" / "test", rows_of(3), files=1)
    empty = pyarrow.Table.from_pylist(rows_of(3)).slice(0, 0)
    with ipc.new_stream(str(tmp_path / "d/test/data-00000-of-00001.arrow"), empty.schema) as out:
        out.write_table(empty)
    (tmp_path / "d" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert {n: len(part) for n, part in opened(tmp_path / "d", splits={"val": 0.0}).splits.items()} == {"train": 2}


def _state(content: str):
    return lambda folder: (folder / "train" / "state.json").write_text(content)


def _cut(folder: Path) -> None:
    path = folder / "train" / "data-00000-of-00001.arrow"
    path.write_bytes(path.read_bytes()[:-300])


DAMAGES: dict[str, tuple[Any, str]] = {
    "no state": (lambda d: (d / "train" / "state.json").unlink(), "state.json: not in"),
    "no json": (_state("{"), "state.json: not JSON at column 2: "),
    "no json of lines": (_state('{"a": 1,\n 2}'), "state.json: not JSON at line 2, column 2: "),
    "no text": (lambda d: (d / "train" / "state.json").write_bytes(b'{"\xff": 1}'), "state.json, line 1: byte 0xff is"),
    "no object": (_state("[]"), r"state.json: should be an object, got '\[\]'"),
    "no files": (_state('{"_data_files": 3}'), '"_data_files" should be a list'),
    "none": (_state('{"_data_files": []}'), "names no files"),
    "elsewhere": (_state('{"_data_files": [{"filename": "../../x.arrow"}]}'), "is not in its folder"),
    "missing": (_state('{"_data_files": [{"filename": "x.arrow"}]}'), "x.arrow: not an Arrow stream"),
    "no arrow": (
        lambda d: (d / "train" / "data-00000-of-00001.arrow").write_bytes(b"PAR1" * 9),
        "data-00000-of-00001.arrow: not an Arrow stream",
    ),
    "cut": (_cut, "train: damaged after row"),
    "no splits": (lambda d: (d / "dataset_dict.json").write_text('{"splits": []}'), "should name its splits"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_wrong_is_said(damage: str, tmp_path: Path) -> None:
    save_splits(tmp_path / "d", {"train": rows_of(1, 2, 3)})
    make, message = DAMAGES[damage]
    make(tmp_path / "d")
    with pytest.raises(UserError, match=message):
        opened(tmp_path / "d")


def test_settings_for_other_sources_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "d", rows_of(1))
    with pytest.raises(UserError, match=r"data\.table=a\.csv: .* saved by `datasets`"):
        opened(tmp_path / "d", table="a.csv")
