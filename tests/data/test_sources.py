"""Sources: every layout gives the same records, and what cannot be understood is one clear message."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import pickle
import random
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from written import write

from patchword.config import (
    CaptioningTaskConfig,
    ColumnsConfig,
    DataConfig,
    Fields,
    ImageConfig,
    ScenesConfig,
    SplitsConfig,
    UserError,
)
from patchword.data import sources
from patchword.data.archives import Folder
from patchword.data.base import Source
from patchword.data.decode import BadImage, decode
from patchword.data.file_source import NotedSource
from patchword.data.finder import SearchFinder

CHOICE = random.Random(23)
SHARED = Path(__file__).parents[2] / ".." / "shared" / "data"
WORDS = ["dog", "cat", "a", "runs", "in", "the", "snow", ",", '"quoted"', "Ünïcode", "."]


def open_source(config: DataConfig) -> NotedSource:
    return sources.open_source(config, CaptioningTaskConfig().fields)


def picture(kind: str = "JPEG") -> bytes:
    noise = np.frombuffer(CHOICE.randbytes(8 * 6 * 3), dtype=np.uint8).reshape(6, 8, 3)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, kind)
    return out.getvalue()


Content = dict[str, tuple[bytes, list[str]]]
"""By name: the picture's bytes and its captions."""


def random_content(count: int = 12) -> Content:
    return {
        f"{index}_{CHOICE.getrandbits(30)}.{kind.lower()}": (
            picture(kind),
            [" ".join(CHOICE.choices(WORDS, k=6)) for _ in range(CHOICE.randint(1, 4))],
        )
        for index, kind in ((i, CHOICE.choice(["JPEG", "PNG"])) for i in range(count))
    }


def rows(content: Content, start: str = "") -> list[dict[str, str]]:
    return [{"image": start + name, "caption": text} for name, (_, texts) in content.items() for text in texts]


def table(records: list[dict[str, Any]]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(records[0]) if records else ["image", "caption"])
    writer.writeheader()
    writer.writerows(records)
    return out.getvalue().encode()


def pictures(content: Content, start: str = "") -> dict[str, bytes]:
    return {start + name: data for name, (data, _) in content.items()}


def records_of(source: Source) -> Content:
    return {
        record.id: (bytes(split.read(index)), list(record.texts["caption"]))
        for split in source.splits.values()
        for index, record in ((i, split.record(i)) for i in range(len(split)))
    }


def refusal(**settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        open_source(DataConfig(**settings))
    message = str(caught.value)
    assert "\n" not in message
    return message


# ------------------------------------------------------------------ layouts


def loose(root: Path, content: Content) -> dict[str, Any]:
    return {"source": str(write(root, {"captions.csv": table(rows(content)), **pictures(content)}))}


def sub_folder(root: Path, content: Content) -> dict[str, Any]:
    return {"source": str(write(root, {"x/my.csv": table(rows(content)), **pictures(content, "a/b/")}))}


def named_by_path(root: Path, content: Content) -> dict[str, Any]:
    lines = "\n".join(json.dumps(row) for row in rows(content)).encode()
    return {"source": str(write(root, {"t.jsonl": lines, **pictures(content), **pictures(random_content(), "old/")}))}


def json_lists(root: Path, content: Content) -> dict[str, Any]:
    objects = [{"image": name, "captions": texts} for name, (_, texts) in content.items()]
    return {"source": str(write(root, {"t.json": json.dumps(objects).encode(), **pictures(content, "images/")}))}


def numbered_columns(root: Path, content: Content) -> dict[str, Any]:
    wide = [
        {"file": name} | {f"caption_{k + 1}": dict(enumerate(texts)).get(k, "") for k in range(4)}
        for name, (_, texts) in content.items()
    ]
    return {"source": str(write(root, {"t.csv": table(wide), **pictures(content)}))}


def packed_pictures(suffix: str) -> Callable[[Path, Content], dict[str, Any]]:
    def layout(root: Path, content: Content) -> dict[str, Any]:
        write(root, {"t.csv": table(rows(content))})
        write(root / f"photos{suffix}", pictures(content, "Images/"))
        return {"source": str(root)}

    return layout


def one_archive(suffix: str) -> Callable[[Path, Content], dict[str, Any]]:
    def layout(root: Path, content: Content) -> dict[str, Any]:
        files = {"set/t.csv": table(rows(content)), **pictures(content, "set/images/")}
        return {"source": str(write(root.with_suffix(suffix), files))}

    return layout


def table_file(root: Path, content: Content) -> dict[str, Any]:
    write(root, {"t.csv": table([{**row, "image": f"./{row['image']}"} for row in rows(content)]), **pictures(content)})
    return {"source": str(root / "t.csv")}


def table_file_and_images(root: Path, content: Content) -> dict[str, Any]:
    write(root, {"t.csv": table(rows(content)), **pictures(content, "here/"), **pictures(content, "not here/")})
    return {"source": str(root / "t.csv"), "images": "here"}


def chosen(root: Path, content: Content) -> dict[str, Any]:
    write(root, {"a.csv": b"", "sub/b.csv": table(rows(content)), "logo.png": picture("PNG")})
    write(root / "sub" / "x.zip", pictures(content))
    write(root / "other.tar", pictures(random_content()))
    return {"source": str(root), "table": "sub/b.csv", "images": "sub/x.zip"}


def chosen_in_archive(root: Path, content: Content) -> dict[str, Any]:
    files = {**pictures(content, "big/"), **pictures(content, "small/x/"), "a.csv": b"", "b.csv": table(rows(content))}
    files |= {f"small/x/{name}": bytes(9) for name in content}
    return {"source": str(write(root.with_suffix(".zip"), files)), "table": "b.csv", "images": "big/"}


def mapped(root: Path, content: Content) -> dict[str, Any]:
    other = [{"caption": "no", "image": "no.jpg", "say": r["caption"], "see": r["image"]} for r in rows(content)]
    columns = ColumnsConfig(image="see", caption="say")
    return {"source": str(write(root, {"t.csv": table(other), **pictures(content)})), "columns": columns}


LAYOUTS = {
    "loose": loose,
    "sub-folder": sub_folder,
    "named by path": named_by_path,
    "json lists": json_lists,
    "numbered columns": numbered_columns,
    "folder with tar": packed_pictures(".tar"),
    "folder with zip": packed_pictures(".zip"),
    "tar": one_archive(".tar"),
    "zip": one_archive(".zip"),
    "table": table_file,
    "table and images": table_file_and_images,
    "chosen": chosen,
    "chosen in archive": chosen_in_archive,
    "mapped": mapped,
}
each_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
Layout = Callable[[Path, Content], dict[str, Any]]


@each_layout
def test_every_layout_gives_the_same_records(layout: Layout, tmp_path: Path):
    content = random_content()
    source = open_source(DataConfig(**layout(tmp_path / "data", content)))
    found = {name.removeprefix("./"): said for name, said in records_of(source).items()}
    assert found == content
    assert source.describes("train", 0, "a dog") is None
    assert not any(source.notes.empty.values())


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@each_layout
def test_sources_travel_to_other_processes(layout: Layout, tmp_path: Path):
    source = open_source(DataConfig(**layout(tmp_path / "data", random_content())))
    expected = records_of(source)
    copy = pickle.loads(pickle.dumps(source))
    assert records_of(copy) == expected
    assert list(copy.splits) == list(source.splits)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(records_of, [source, copy]) == [expected, expected]


def test_relative_and_home_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    content = random_content()
    loose(tmp_path / "data", content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for source in ("data", "./data/captions.csv", "~/data"):
        assert records_of(open_source(DataConfig(source=source))) == content


def test_one_picture_may_be_spelt_in_several_ways(tmp_path: Path):
    names = ["é.jpg", "e\u0301.jpg", "./é.jpg", "Images/é.jpg", "Images\\é.jpg", "Images/x/../é.jpg"]
    lines = table([{"image": name, "caption": f"says {k}"} for k, name in enumerate(names)])
    write(tmp_path, {"t.csv": lines, "Images/e\u0301.jpg": picture()})
    [(name, (_, said))] = records_of(open_source(DataConfig(source=str(tmp_path)))).items()
    assert (name, said) == ("é.jpg", [f"says {k}" for k in range(6)])


def test_a_coco_file(tmp_path: Path):
    content = random_content()
    coco = {
        "images": [{"id": k, "file_name": name} for k, name in enumerate(content)],
        "annotations": [
            {"id": 10 * k + j, "image_id": k, "caption": text}
            for k, (_, texts) in enumerate(content.values())
            for j, text in enumerate(texts)
        ],
    }
    write(tmp_path, {"annotations/captions.json": json.dumps(coco).encode(), **pictures(content, "images/")})
    assert records_of(open_source(DataConfig(source=str(tmp_path)))) == content


# ------------------------------------------------------------------ Flickr8k


def flickr(root: Path, content: Content, tables: Iterable[str], lists: dict[str, list[str]]) -> DataConfig:
    tokens = "".join(f"{name}#{k}\t{text}\n" for name, (_, texts) in content.items() for k, text in enumerate(texts))
    data = {"captions.txt": table(rows(content)), "Flickr8k.token.txt": tokens.encode()}
    files = {name: data[name] for name in tables}
    files |= {f"Flickr_8k.{name}Images.txt": "\r\n".join(names).encode() for name, names in lists.items()}
    write(root, {**files, "readme.txt": b"hello\xff", "README.md": b"#"})
    return DataConfig(source=str(root))


@pytest.mark.parametrize("images", ["images.tar", "Images"])
@pytest.mark.parametrize("tables", [["captions.txt"], ["Flickr8k.token.txt"], ["captions.txt", "Flickr8k.token.txt"]])
def test_the_layout_of_flickr8k(images: str, tables: list[str], tmp_path: Path):
    content = random_content(20)
    names = list(content)
    lists = {"dev": names[6:9], "train": names[9:18][::-1], "test": ["held_out.jpg", "other.jpg"]}
    config = flickr(tmp_path, content, tables, lists)
    write(tmp_path / images, pictures(content, "Images/" if images.endswith(".tar") else ""))
    source = open_source(config)
    assert list(source.splits) == ["train", "val"]
    assert [source.splits["train"].record(i).id for i in range(9)] == names[9:18]
    assert [source.splits["val"].record(i).id for i in range(3)] == names[6:9]
    assert records_of(source) == {name: content[name] for name in names[6:18]}
    assert source.notes.in_no_split == (*names[:6], *names[18:])
    assert source.notes.listed_only == ("held_out.jpg", "other.jpg")


@pytest.mark.parametrize("tables", [["captions.txt"], ["Flickr8k.token.txt"]])
def test_captions_of_flickr8k_as_running_text(tables: list[str], tmp_path: Path):
    """Split as its lists say, whole pictures at a time; no picture is looked for."""
    content = random_content(20)
    names = list(content)
    lists = {"dev": names[6:9], "train": names[9:18][::-1], "test": names[:2]}
    config = flickr(tmp_path, content, tables, lists)
    source = sources.open_source(config, Fields(("text",), image=False))
    assert not source.has_pictures
    for split, listed in {"train": lists["train"], "val": lists["dev"], "test": lists["test"]}.items():
        part = source.splits[split]
        found = {part.record(i).id: part.record(i).texts["text"] for i in range(len(part))}
        assert found == {name: tuple(content[name][1]) for name in listed}


def test_lists_of_pictures_split_texts_whatever_their_column_is_called(tmp_path: Path):
    write(tmp_path, {"t.csv": b"photo,text\na.jpg,one\nb.jpg,two\n./a.jpg,three\nc.jpg,four\n", "val.txt": b"a.jpg\n"})
    config = DataConfig(source=str(tmp_path), splits=SplitsConfig(lists={"val": "val.txt"}))
    text = Fields(("text",), image=False)
    named = config.replace(columns=config.columns.replace(image="photo"))
    source = sources.open_source(named, text)
    assert [source.splits["val"].record(0)] == [("a.jpg", {"text": ("one", "three")})]
    assert source.notes.in_no_split == ("b.jpg", "c.jpg")
    with pytest.raises(UserError, match=r"val\.txt: none of its 1 names is in t\.csv, the first one is 'a\.jpg'"):
        sources.open_source(config, text)


def test_a_part_of_flickr8k_with_one_list(tmp_path: Path):
    content = random_content(5)
    config = flickr(tmp_path, content, ["captions.txt"], {"test": list(content)})
    write(tmp_path / "images.tar", pictures(content, "Images/"))
    source = open_source(config)
    assert list(source.splits) == ["test"]
    with pytest.raises(UserError, match=r"unknown split 'train'; .*allowed: test .*data\.splits"):
        source.splits["train"]


def test_other_splits_may_be_chosen_for_flickr8k(tmp_path: Path):
    content = random_content(6)
    config = flickr(tmp_path, content, ["captions.txt"], {"train": list(content)})
    write(tmp_path, {"mine.txt": "\n".join(list(content)[:2]).encode(), **pictures(content, "Images/")})
    source = open_source(config.replace(splits=SplitsConfig(lists={"mine": "mine.txt"})))
    assert {name: len(split) for name, split in source.splits.items()} == {"mine": 2}


@pytest.mark.skipif(not (SHARED / "flickr8k").is_dir(), reason="the shared copy of Flickr8k is not here")
def test_the_shared_flickr8k():
    source = open_source(DataConfig(source=str(SHARED / "flickr8k")))
    assert {name: len(split) for name, split in source.splits.items()} == {"train": 6000, "val": 1000}
    assert len(source.notes.in_no_split) == 91
    assert source.notes.not_in_table == len(source.notes.listed_only) == 0
    captions = [len(source.splits["val"].record(i).texts["caption"]) for i in range(1000)]
    assert captions == [5] * 1000
    assert decode(bytes(source.splits["val"].read(999)), 128 * 128).shape == (128, 128, 3)


# ------------------------------------------------------------------ splits


def names_in(source: Source) -> dict[str, set[str]]:
    return {name: {split.record(i).id for i in range(len(split))} for name, split in source.splits.items()}


def test_shares_are_of_pictures_and_keep_still(tmp_path: Path):
    content: Content = {f"{i}.jpg": (b"", [f"{i} a", f"{i} b"]) for i in range(2000)}
    for name, part in (("few", dict(list(content.items())[::2])), ("all", content)):
        write(tmp_path / name, {"t.csv": table(CHOICE.sample(rows(part), 2 * len(part))), "1.jpg": b"", "0.jpg": b""})
    splits = SplitsConfig(val=0.2, test=0.1, seed=5)
    few, every = (
        names_in(open_source(DataConfig(source=str(tmp_path / name), splits=splits))) for name in ("few", "all")
    )
    assert sum(map(len, every.values())) == 2000  # disjoint, and none is lost
    assert {name: every[name] & set.union(*few.values()) for name in every} == few  # more pictures move none
    assert 340 < len(every["val"]) < 460
    assert 150 < len(every["test"]) < 250
    other = names_in(open_source(DataConfig(source=str(tmp_path / "all"), splits=splits.replace(seed=6))))
    assert 20 < len(other["test"] & every["test"]) + len(other["val"] & every["val"]) < 200
    wider = names_in(open_source(DataConfig(source=str(tmp_path / "all"), splits=splits.replace(val=0.5))))
    assert wider["test"] == every["test"]
    assert wider["val"] > every["val"]


def test_shares_depend_on_names_alone(tmp_path: Path):
    content = random_content(40)
    kinds = [loose, one_archive(".tar"), packed_pictures(".zip"), table_file]
    found = [names_in(open_source(DataConfig(**kind(tmp_path / str(k), content)))) for k, kind in enumerate(kinds)]
    plain = [{split: {name.removeprefix("./") for name in names} for split, names in one.items()} for one in found]
    assert all(one == plain[0] for one in plain)
    assert set(plain[0]) == {"train", "val"}


def test_a_column_chooses_the_split(tmp_path: Path):
    labels = {"a": "Train", "b": "training", "c": "dev", "d": "valid", "e": " validation ", "f": "val", "g": "TEST"}
    labels |= {"h": "restval", "i": ""}
    lines = [{"image": f"{name}.jpg", "caption": name, "split": label} for name, label in labels.items()]
    lines += [{"image": "a.jpg", "caption": "more", "split": "test"}]  # a mistake, which the doctor reports
    write(tmp_path, {"t.csv": table(lines), **{f"{name}.jpg": picture() for name in labels}})
    source = open_source(DataConfig(source=str(tmp_path)))
    expected = {"train": "ab", "val": "cdef", "test": "ag", "restval": "h"}
    assert names_in(source) == {split: {f"{name}.jpg" for name in names} for split, names in expected.items()}
    assert source.splits["test"].record(0).texts["caption"] == ("a", "more")
    assert source.notes.in_no_split == ("i.jpg",)


def test_lists_choose_the_split_over_a_column_that_nobody_named(tmp_path: Path):
    lines = [{"image": f"{name}.jpg", "caption": name, "split": "train"} for name in "abcde"]
    write(tmp_path, {"t.csv": table(lines), **{f"x/{name}.jpg": picture() for name in "abcde"}})
    write(tmp_path, {"lists/1.txt": b"\xef\xbb\xbfa.jpg\n\n x/b.jpg \nzzz.jpg\n", "2.txt": b"./c.jpg\r\nb.jpg"})
    lists = {"training": "lists/1.txt", "dev": "2.txt"}
    source = open_source(DataConfig(source=str(tmp_path), splits=SplitsConfig(lists=lists)))
    assert names_in(source) == {"train": {"a.jpg", "b.jpg"}, "val": {"b.jpg", "c.jpg"}}
    assert source.notes.listed_only == ("zzz.jpg",)
    assert source.notes.in_no_split == ("d.jpg", "e.jpg")


def test_splits_are_a_mapping(tmp_path: Path):
    source = open_source(DataConfig(**loose(tmp_path, random_content(2))))
    assert "novel" not in source.splits
    assert source.splits.get("novel") is None
    with pytest.raises(UserError, match=r"unknown split 'trian'; did you mean 'train'\?") as caught:
        source.splits["trian"]
    assert not str(caught.value).startswith(("'", '"'))
    with pytest.raises(KeyError):
        source.splits["novel"]


def test_records_out_of_range(tmp_path: Path):
    for config in (DataConfig(**loose(tmp_path, random_content(3))), DataConfig()):
        split = open_source(config).splits["train"]
        for index in (-1, len(split)):
            with pytest.raises(IndexError, match="train"):
                split.record(index)
            with pytest.raises(IndexError):
                split.read(index)


# ------------------------------------------------------------------ bad samples


@pytest.mark.parametrize("layout", [loose, packed_pictures(".tar"), one_archive(".zip"), table_file])
def test_a_missing_picture_is_found_when_it_is_read(layout: Layout, tmp_path: Path):
    content = random_content(4)
    config = DataConfig(**layout(tmp_path / "data", content), splits=SplitsConfig(val=0))
    gone = CHOICE.choice(list(content))
    hostile = ["../secret.jpg", str(tmp_path / "secret.jpg"), "x/../../data/../../secret.jpg"]
    (tmp_path / "secret.jpg").write_bytes(picture())
    lost = {name: (b"", ["said"]) for name in ["gone.jpg", *hostile]}
    kept = {name: said for name, said in content.items() if name != gone}
    full = rows(content | lost)
    if layout is table_file or layout is loose:
        (tmp_path / "data" / gone).unlink()
        (tmp_path / "data" / ("t.csv" if layout is table_file else "captions.csv")).write_bytes(table(full))
    elif layout(tmp_path / "data", kept)["source"].endswith(".zip"):
        write(tmp_path / "data.zip", {"t.csv": table(full), **pictures(kept, "images/")})
    else:
        write(tmp_path / "data", {"t.csv": table(full)})
    split = open_source(config).splits["train"]
    reasons = {}
    for index in range(len(split)):
        try:
            split.read(index)
        except BadImage as error:
            reasons[split.record(index).id] = error.reason
    assert reasons == dict.fromkeys([gone, *lost], "missing")
    assert len(split) == len(content | lost)


def test_empty_captions_are_noted_and_skipped(tmp_path: Path):
    lines = [
        {"image": "a.jpg", "caption": "a"},
        {"image": "a.jpg", "caption": " "},
        {"image": "b.jpg", "caption": ""},
    ]
    write(tmp_path, {"t.csv": table(lines), **{f"{name}.jpg": picture() for name in "abc"}})
    source = open_source(DataConfig(source=str(tmp_path), splits=SplitsConfig(val=0)))
    assert source.splits["train"].record(0).texts["caption"] == ("a",)
    assert len(source.splits["train"]) == 1
    assert source.notes.empty["caption"] == (f"{tmp_path}/t.csv, line 3", f"{tmp_path}/t.csv, line 4")
    assert source.notes.without_texts == ("b.jpg",)
    assert source.notes.not_in_table == 1


# ------------------------------------------------------------------ messages

ROW = b"image,caption\na.jpg,x\n"
JPEG = picture()


FOLDER_FAULTS = [
    ({"t.csv": ROW, "a.tar": b"", "b.zip": b""}, {}, ["2 places with pictures: a.tar, b.zip", "data.images=a.tar"]),
    ({"t.csv": ROW, "a.tar": b"", "Images/a.jpg": JPEG}, {}, ["a.tar, Images", "data.images=a.tar"]),
    ({"t.csv": ROW}, {}, ["no pictures in it"]),
    ({"t.csv": ROW, "x.zip": b"hm"}, {}, ["x.zip: not a tar or zip"]),
    ({"t.csv": ROW, "img/a.jpg": JPEG}, {"images": "igm"}, ["data.images=igm", "did you mean 'img'"]),
    ({"t.csv": ROW, "a.jpg": JPEG}, {"images": "t.csv"}, ["t.csv: not a tar or zip"]),
]
FAULTS = [
    ({"t.csv": ROW, "u.json": b"[]", "a.jpg": JPEG}, {}, ["2 tables: t.csv, u.json", "data.table=t.csv"]),
    ({"captions.txt": ROW, "t.csv": ROW, "a.jpg": JPEG}, {}, ["2 tables: captions.txt, t.csv"]),
    ({"a.jpg": JPEG}, {}, ["no table of captions (.csv, .tsv"]),
    ({"t.csv": ROW, "a.jpg": JPEG}, {"table": "tt.csv"}, ["data.table=tt.csv", "did you mean 't.csv'"]),
    ({"t.csv": ROW, "a.jpg": JPEG}, {"table": "../t.csv"}, ["data.table=../t.csv: should be inside data.source"]),
    ({"t.csv": ROW, "a.jpg": JPEG}, {"table": "/t.csv"}, ["should be inside"]),
    ({"t.csv": ROW, "a.jpg": JPEG}, {"table": "a.jpg"}, ["a.jpg: not a table"]),
    ({"t.csv": ROW, "a.jpg": JPEG}, {"images": "../x"}, ["data.images=../x: should be inside"]),
    ({"t.csv": b"image,caption\n", "a.jpg": JPEG}, {}, ["t.csv: the data set is empty"]),
    ({"t.csv": b"image,caption\na.jpg,\n", "a.jpg": JPEG}, {}, ["the data set is empty: 1 pictures, none with a"]),
    ({"t.csv": b"", "a.jpg": JPEG}, {}, ["t.csv: the table is empty"]),
    (
        {"t.csv": b"pic,caption\n", "a.jpg": JPEG},
        {},
        ["t.csv: no column for the image", "has: pic, caption"],
    ),
    ({"t.csv": ROW + b'b.jpg,"x\n', "a.jpg": JPEG}, {}, ["t.csv, line 3: broken quotes"]),
    (
        {"t.csv": ROW, "x/a.jpg": JPEG, "y/a.jpg": JPEG},
        {},
        ["t.csv, line 2: picture 'a.jpg' could be 'x/a.jpg'"],
    ),
    ({"t.csv": ROW, "b.jpg": JPEG}, {}, ["none of its 1 pictures can be found", "a.jpg: not in", "like 'b.jpg'"]),
    (
        {"t.csv": b"image,caption\na.jpg,x\n", "a.jpg": JPEG},
        {"splits": SplitsConfig(val=0.999999)},
        ["no picture is left to train on", "data.splits.val"],
    ),
    (
        {"t.csv": b"image,caption,split\na.jpg,x,\n", "a.jpg": JPEG},
        {},
        ["column 'split' is empty"],
    ),
    (
        {"t.csv": ROW, "a.jpg": JPEG, "list.txt": b"b.jpg\nc.jpg\n"},
        {"splits": SplitsConfig(lists={"train": "list.txt"})},
        ["list.txt: none of its 2 names is in t.csv, the first one is 'b.jpg'"],
    ),
    (
        {"t.csv": ROW, "a.jpg": JPEG, "list.txt": b"\n"},
        {"splits": SplitsConfig(lists={"train": "list.txt"})},
        ["list.txt: none of its 0 names"],
    ),
    (
        {"t.csv": ROW, "a.jpg": JPEG, "list.txt": b"a.jpg\n\xff.jpg"},
        {"splits": SplitsConfig(lists={"train": "list.txt"})},
        ["list.txt, line 2: byte 0xff is not UTF-8"],
    ),
    (
        {"t.csv": ROW, "a.jpg": JPEG, "list.txt": b"a.jpg"},
        {"splits": SplitsConfig(lists={"train": "lisst.txt"})},
        ["data.splits.lists.train=lisst.txt", "did you mean 'list.txt'"],
    ),
    (
        {"t.csv": ROW, "a.jpg": JPEG},
        {"splits": SplitsConfig(lists={"train": "../list.txt"})},
        ["data.splits.lists.train=../list.txt: should be inside"],
    ),
    (
        {"t.csv": ROW, "a.jpg": JPEG, "list.txt": b"a.jpg"},
        {"splits": SplitsConfig(lists={"val": "list.txt", "dev": "list.txt"})},
        ["data.splits.lists.dev: split 'val' has a list already"],
    ),
    (
        {"t.csv": b"image,caption,s\na.jpg,x,train\n", "a.jpg": JPEG, "list.txt": b"a.jpg"},
        {"splits": SplitsConfig(lists={"train": "list.txt"}), "columns": ColumnsConfig(split="s")},
        ["data.splits.lists", "data.columns.split", "drop one"],
    ),
]


@pytest.mark.parametrize(
    ("files", "settings", "words", "suffix"),
    [(*fault, "") for fault in FOLDER_FAULTS + FAULTS] + [(*fault, ".zip") for fault in FAULTS],
    ids=lambda value: value[0][:40] if isinstance(value, list) else "",
)
def test_what_is_wrong_is_said(
    files: dict[str, bytes], settings: dict[str, Any], words: list[str], suffix: str, tmp_path: Path
):
    message = refusal(source=str(write(tmp_path / f"data{suffix}", files)), **settings)
    for word in words:
        assert word in message, message


def test_a_source_that_is_not_there(tmp_path: Path):
    write(tmp_path, {"photos/a.jpg": b""})
    assert "did you mean 'photos'?" in refusal(source=str(tmp_path / "photo"))
    assert "did you mean 'scenes'?" in refusal(source="scene")
    assert "no such folder or file" in refusal(source=str(tmp_path / "a" / "b" / "c"))
    assert "should be" not in refusal(source=str(tmp_path / "photos"))


def test_a_table_that_is_not_alone(tmp_path: Path):
    settings = table_file(tmp_path, random_content(3))
    assert "is a table already" in refusal(**settings, table="t.csv")
    assert "no such folder or file" in refusal(**settings, images="nowhere")
    (tmp_path / "t.csv").write_bytes(b"image,caption\nb.jpg,x\n../c.jpg,y\n")
    message = refusal(**settings)
    assert re.search(r"none of its 2 pictures can be found, the first one: b\.jpg: not in", message)


def test_a_file_that_is_neither_table_nor_archive(tmp_path: Path):
    write(tmp_path, {"a.jpg": JPEG})
    assert "is a picture; name a folder" in refusal(source=str(tmp_path / "a.jpg"))
    write(tmp_path, {"notes.md": b"# notes"})
    assert "not a tar or zip that can be read, nor a table" in refusal(source=str(tmp_path / "notes.md"))
    settings = one_archive(".tar")(tmp_path / "x", random_content(2))
    assert "no such folder in" in refusal(**settings, images="photos")
    assert "should be inside" in refusal(**settings, images="../x")


def test_the_folder_of_a_table_is_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    settings = table_file(tmp_path, random_content(3))

    def list_nothing(*_: object) -> None:
        raise AssertionError("a table's folder may be a home folder")

    monkeypatch.setattr("os.walk", list_nothing)
    assert len(records_of(open_source(DataConfig(**settings)))) == 3


def test_finding_prefers_the_very_path(tmp_path: Path):
    write(tmp_path, {"a.jpg": b"1", "x/a.jpg": b"2", "x/y/a.jpg": b"3", "z/b.jpg": b"4", "zz/b.jpg": b"5"})
    finder = SearchFinder(Folder(tmp_path))
    for name, file in {"a.jpg": "a.jpg", "x/a.jpg": "x/a.jpg", "y/a.jpg": "x/y/a.jpg", "z/b.jpg": "z/b.jpg"}.items():
        assert finder.find(name) == file
    with pytest.raises(UserError, match=r"'z/b\.jpg' or 'zz/b\.jpg'"):
        finder.find("b.jpg")
    assert finder.find("none.jpg") == "none.jpg"
    assert finder.find("z/a.jpg") == "z/a.jpg"
    write(tmp_path / "more", {"xz/a.jpg": b""})
    assert SearchFinder(Folder(tmp_path / "more")).find("z/a.jpg") == "z/a.jpg"


def test_pictures_outside_of_the_chosen_folder_are_not_found(tmp_path: Path):
    files = {"t.csv": b"image,caption\na.jpg,x\nb.jpg,y\nout/b.jpg,z\n", "in/a.jpg": b"1", "out/b.jpg": b"2"}
    for path in (write(tmp_path / "x.tar", files), write(tmp_path / "folder", files)):
        source = open_source(DataConfig(source=str(path), images="in", splits=SplitsConfig(val=0)))
        assert source.splits["train"].read(0) == b"1"
        for index in (1, 2):
            with pytest.raises(BadImage, match="missing"):
                source.splits["train"].read(index)


def test_a_table_at_the_top_is_preferred(tmp_path: Path):
    content = random_content(3)
    settings = loose(tmp_path, content)
    write(tmp_path, {"old/a.csv": b"", "old/b.json": b""})
    assert records_of(open_source(DataConfig(**settings))) == content


# ------------------------------------------------------------------ scenes


def test_scenes_are_the_default():
    config = DataConfig(scenes=ScenesConfig(train=30, val=5, test=7, seed=3), image=ImageConfig(height=40, width=56))
    source = open_source(config)
    assert source.name == "scenes"
    assert {name: len(split) for name, split in source.splits.items()} == {"train": 30, "val": 5, "test": 7, "novel": 7}
    for name, split in source.splits.items():
        index = CHOICE.randrange(len(split))
        pixels, record = split.read(index), split.record(index)
        assert isinstance(pixels, np.ndarray)
        assert (pixels.shape, pixels.dtype) == ((40, 56, 3), np.uint8)
        assert record == split.record(index)
        assert all(source.describes(name, index, caption) for caption in record.texts["caption"])
        assert source.describes(name, index, "a large purple elephant") is False
        copy = pickle.loads(pickle.dumps(source)).splits[name]
        assert copy.record(index) == record
        assert np.array_equal(copy.read(index), pixels)
    ids = [split.record(i).id for split in source.splits.values() for i in range(len(split))]
    assert len(set(ids)) == len(ids)


def test_scenes_follow_their_settings():
    small = DataConfig(scenes=ScenesConfig(max_objects=1, language="de", train=4))
    german, english = (
        open_source(config).splits["train"].record(1).texts["caption"]
        for config in (small, small.replace(scenes=small.scenes.replace(language="en")))
    )
    assert german != english
    assert open_source(small).describes("train", 1, german[0])
    other = small.replace(scenes=small.scenes.replace(seed=1))
    first, second = (open_source(config).splits["train"] for config in (small, other))
    assert [first.record(i) for i in range(4)] != [second.record(i) for i in range(4)]


@pytest.mark.parametrize("setting", ["table", "images"])
def test_scenes_have_no_files(setting: str):
    assert f"data.{setting}=x: the embedded data set has no files" in refusal(**{setting: "x"})
