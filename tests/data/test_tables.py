"""Tables: what every format reads as, and that a malformed one is a message with its file and line."""

from __future__ import annotations

import csv
import io
import json
import random
import re

import pytest

from patchword.config import ColumnsConfig, Fields, UserError
from patchword.data.columns import choose_columns, samples
from patchword.data.strings import Strings
from patchword.data.tables import is_table, read_table, where

WANTED = Fields(("caption",))
CHOICE = random.Random(7)
CAPTIONS = [
    "a dog",
    'he says "no", twice',
    "tab\there",
    "two\nlines",
    "",
    "Ünïcode 猫 😀",
    "  blanks  ",
    "a,b,c",
    "'",
    '"',
]


def random_rows(count: int) -> list[dict[str, str]]:
    return [{"image": f"{CHOICE.getrandbits(40)}.jpg", "caption": CHOICE.choice(CAPTIONS)} for _ in range(count)]


def delimited(rows: list[dict[str, str]], delimiter: str) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(
        out, ["image", "caption"], delimiter=delimiter, lineterminator=CHOICE.choice(["\n", "\r\n"])
    )
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def parquet(columns: dict[str, list[object]]) -> bytes:
    pyarrow = pytest.importorskip("pyarrow")
    out = io.BytesIO()
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table(columns), out)
    return out.getvalue()


WRITERS = {
    "t.csv": lambda rows: delimited(rows, ","),
    "t.tsv": lambda rows: delimited(rows, "\t"),
    "captions.txt": lambda rows: b"\xef\xbb\xbf" + delimited(rows, ","),
    "t.json": lambda rows: json.dumps(rows, indent=CHOICE.choice([None, 2])).encode(),
    "T.JSONL": lambda rows: ("\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n").encode(),
    "t.parquet": lambda rows: parquet({name: [row[name] for row in rows] for name in ("image", "caption")}),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("count", [1, 200])
def test_every_format_gives_the_rows_that_were_written(name: str, count: int):
    rows = random_rows(count)
    table = read_table(name, WRITERS[name](rows))
    assert table.columns == ("image", "caption")
    assert [row.cells for row in table.rows(["caption", "image"])] == [(row["caption"], row["image"]) for row in rows]
    assert list(table.rows(["image"])) == list(table.rows(["image"]))  # and again
    numbers = [row.number for row in table.rows(["image"])]
    assert numbers == sorted(set(numbers))


def test_a_long_cell_is_no_broken_quote():
    text = "word " * 40_000
    table = read_table("t.csv", f"image,text\na.jpg,{text}\n".encode())
    assert [row.cells for row in table.rows(["text"])] == [(text,)]
    with pytest.raises(UserError, match=r"t\.csv, line 2: broken quotes"):
        list(read_table("t.csv", f'image,text\na.jpg,"{text}\n'.encode()).rows(["text"]))


def test_named_parts_of_a_cell_are_columns():
    rows = [{"id": 1, "said": {"en": "one", "fr": "un"}}, {"id": 2, "said": None}, {"id": 3, "said": {"en": "three"}}]
    table = read_table("t.jsonl", "\n".join(map(json.dumps, rows)).encode())
    assert table.columns == ("id", "said", "said.en", "said.fr")
    assert [row.cells for row in table.rows(["said.fr", "said.en"])] == [("un", "one"), (None, None), (None, "three")]
    [row] = read_table("t.json", b'[{"a.b": "its own", "a": {"b": "a part"}}]').rows(["a.b"])
    assert row.cells == ("its own",)


def test_lines_are_those_of_the_file():
    table = read_table("t.csv", b'image,caption\n\na.jpg,one\nb.jpg,"two\n\nlines"\r\nc.jpg,three\n')
    assert [(row.number, row.cells[0]) for row in table.rows(["image"])] == [(3, "a.jpg"), (4, "b.jpg"), (7, "c.jpg")]
    assert where(table, 7) == "t.csv, line 7"
    lines = read_table("t.jsonl", b'\n{"image": "a"}\n\n{"image": "b"}')
    assert [row.number for row in lines.rows(["image"])] == [2, 4]


def test_line_breaks_are_only_those_of_files():
    text = "image,caption\na.jpg,one\u2028still one\x0band\x1cso on\n"
    [row] = read_table("t.csv", text.encode()).rows(["caption"])
    assert row.cells == ("one\u2028still one\x0band\x1cso on",)
    [row] = read_table("t.jsonl", '{"image": "a\u2028b"}'.encode()).rows(["image"])
    assert row.cells == ("a\u2028b",)


def test_flickr_tokens():
    table = read_table("Flickr8k.token.txt", b"a.jpg#0\tA dog # 1 .\nb.jpg.1#4\tA cat\there\n")
    assert [row.cells for row in table.rows(["image", "caption"])] == [
        ("a.jpg", "A dog # 1 ."),
        ("b.jpg.1", "A cat\there"),
    ]


def test_coco():
    content = {
        "info": {"year": 2014},
        "images": [{"id": 9, "file_name": "a.jpg", "split": "val"}, {"id": 4, "file_name": "b.jpg"}],
        "annotations": [
            {"id": 1, "image_id": 4, "caption": "bee"},
            {"id": 2, "image_id": 9, "caption": "ay"},
            {"id": 3, "image_id": 4, "caption": "be"},
        ],
    }
    table = read_table("captions.json", json.dumps(content).encode())
    assert [row.cells for row in table.rows(["file_name", "caption", "split"])] == [
        ("b.jpg", "bee", None),
        ("a.jpg", "ay", "val"),
        ("b.jpg", "be", None),
    ]


BROKEN = [
    ("t.csv", b'image,caption\na.jpg,ok\nb.jpg,"never closed\nc.jpg,ok\n', "t.csv, line 3: broken quotes"),
    ("t.csv", b'image,caption\na.jpg,"closed" too early\n', "t.csv, line 2: broken quotes"),
    ("t.csv", b'image,caption\na.jpg,"' + b"never closed\n" * 20_000, "t.csv, line 2: broken quotes"),
    ("t.csv", b'"image,caption\na.jpg,x\n', "t.csv, line 1: broken quotes"),
    ("t.csv", b"image,caption\na.jpg,ok\nb.jpg,one, two\n", "t.csv, line 3: 3 cells, but the header has 2"),
    ("t.csv", b"image,caption\na.jpg\n", "t.csv, line 2: 1 cells, but the header has 2"),
    ("t.csv", b"image;caption\na.jpg;ok\n", "t.csv: the header is one cell, 'image;caption': should have a comma"),
    ("t.csv", b"image\tcaption\na.jpg\tok\n", r"t.csv: the header is one cell, 'image\\tcaption': should have a comma"),
    ("t.tsv", b"image,caption\na.jpg,ok\n", "t.tsv: the header is one cell, 'image,caption': should have a tab"),
    ("t.tsv", b"image\tcaption\na.jpg\tx\ty\n", "t.tsv, line 2: 3 cells.* tab "),
    ("t.csv", b"image,caption\na.jpg,ok\nb.jpg,caf\xe9\n", "t.csv, line 3: byte 0xe9 is not UTF-8"),
    ("t.csv", "image,caption\n".encode("utf-16"), "t.csv, line 1: .* not UTF-8"),
    ("t.csv", b"", "t.csv: the table is empty"),
    ("t.csv", b"\n\n", "t.csv: the table is empty"),
    ("t.json", b"[]", "t.json: the table is empty"),
    ("t.json", b'[{"image": 1},\n {"image" 2}]', "t.json: not JSON at line 2, column 11"),
    ("t.json", b'"text"', "t.json: should be a list of objects"),
    ("t.json", b'{"a.jpg": "caption"}', "t.json: should be a list of objects"),
    ("t.json", b'[{"image": "a"}, 3]', "t.json, entry 2: should be an object, got '3'"),
    ("t.json", b"[" * 100_000, "t.json: .*cannot be read"),
    ("t.json", b'[{"image": ' + b"9" * 5000 + b"}]", "t.json: .*cannot be read"),
    ("t.json", b'{"images": {}, "annotations": []}', "t.json: 'images' should be a list"),
    ("t.json", b'{"images": [{"id": []}], "annotations": []}', "t.json, image 1: 'id' should be"),
    ("t.json", b'{"images": [{"id": 1}], "annotations": [{"image_id": 2}]}', "t.json, annotation 1: no image .* 2"),
    ("t.jsonl", b'{"image": 1}\n\n{"image": }\n', "t.jsonl, line 3: not JSON at column 11"),
    ("t.jsonl", b'{"image": 1}\n["a"]\n', "t.jsonl, line 2: should be an object"),
    ("x.token.txt", b"a.jpg#0\tok\na.jpg ok\n", "x.token.txt, line 2: should be NAME#NUMBER"),
    ("t.parquet", b"PAR1 not really PAR1", "t.parquet: not a parquet file, or damaged"),
    ("t.txt", b"image,caption\n", "t.txt: not a table; .*csv"),
]


@pytest.mark.parametrize(("name", "data", "message"), BROKEN, ids=range(len(BROKEN)))
def test_a_broken_table_is_one_message(name: str, data: bytes, message: str):
    with pytest.raises(UserError, match=message) as caught:
        list(read_table(name, data).rows(["image"]))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_cut_parquet_is_one_message():
    data = parquet({"image": ["a.jpg"] * 1000})
    with pytest.raises(UserError, match=r"t\.parquet: not a parquet file"):
        read_table("t.parquet", data[: len(data) // 2])


def test_names_of_tables():
    names = ("a.csv", "A.CSV", "x/captions.txt", "Flickr8k.token.txt", "b.parquet")
    assert all(map(is_table, names))
    assert not any(map(is_table, ("readme.txt", "a.jpg", "csv", "Flickr_8k.trainImages.txt")))


# ------------------------------------------------------------------ columns


def columns_of(header: str, **config: str):
    return choose_columns(read_table("t.csv", f"{header}\n".encode()), ColumnsConfig(**config), WANTED)


@pytest.mark.parametrize(
    ("header", "config", "expected"),
    [
        ("image,caption", {}, ("image", ("caption",), None)),
        ("split,sentence,FileName", {}, ("FileName", ("sentence",), "split")),
        ("path,image,text,captions", {}, ("image", ("captions",), None)),
        ("file,caption_2,caption_1,caption_0", {}, ("file", ("caption_0", "caption_1", "caption_2"), None)),
        ("a,b,c,image,caption", {"image": "a", "caption": "b", "split": "c"}, ("a", ("b",), "c")),
        ("image,de_1,de_2,caption", {"caption": "de"}, ("image", ("de_1", "de_2"), None)),
        (",image,caption", {}, ("image", ("caption",), None)),
    ],
)
def test_columns_are_found(header: str, config: dict[str, str], expected: tuple[object, ...]):
    image, texts, split = columns_of(header, **config)
    assert (image, texts["caption"], split) == expected


@pytest.mark.parametrize(
    ("header", "config", "words"),
    [
        ("pic,caption", {}, ["image", "the table has: pic, caption", "data.columns.image="]),
        ("image,captoin", {}, ["caption", "the table has: image, captoin", "data.columns.caption=captoin"]),
        ("image,caption", {"caption": "captoin"}, ["data.columns.caption", "'captoin'", "did you mean 'caption'"]),
        ("image,caption", {"split": "part"}, ["data.columns.split", "'part'", "allowed: caption, image"]),
        ("image,Image,caption", {"image": "IMAGE"}, ["data.columns.image", "'IMAGE'"]),
        ("image,image,caption", {}, ["two columns are named 'image' and 'image'"]),
        ("Image,IMAGE,caption", {}, ["two columns are named 'Image' and 'IMAGE'"]),
    ],
)
def test_a_missing_column_says_what_is_there(header: str, config: dict[str, str], words: list[str]):
    with pytest.raises(UserError, match=r"t\.csv") as caught:
        columns_of(header, **config)
    for word in words:
        assert word in str(caught.value)


def read_samples(rows: list[dict[str, object]]):
    table = read_table("t.jsonl", "\n".join(map(json.dumps, rows)).encode())
    return list(samples(table, choose_columns(table, ColumnsConfig(), WANTED), WANTED))


def test_captions_in_every_arrangement():
    lists = read_samples(
        [{"image": " a ", "captions": ["x", " y "]}, {"image": "b", "captions": "z", "split": " VAL "}]
    )
    assert [(s.image, s.texts["caption"], s.split, s.empty) for s in lists] == [
        ("a", ("x", "y"), "", {}),
        ("b", ("z",), "VAL", {}),
    ]
    [numbered] = read_samples([{"image": "a", "caption_1": "one", "caption_3": "", "caption_0": ["zero", "nought"]}])
    assert (numbered.texts, numbered.empty) == ({"caption": ("zero", "nought", "one")}, {})


@pytest.mark.parametrize(("cell", "empty"), [("", 1), (" \t", 1), (None, 1), ([], 1), (["", "x", None], 2)])
def test_empty_captions_are_counted(cell: object, empty: int):
    [sample] = read_samples([{"image": "a", "caption": cell}])
    assert sample.empty == {"caption": empty}
    assert sample.texts == ({"caption": ("x",)} if empty == 2 else {})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"caption": "x"}, "line 2: column 'image' should be the path of a picture, got None"),
        ({"image": " ", "caption": "x"}, "line 2: column 'image' should be"),
        ({"image": {"bytes": "x" * 1000}, "caption": "x"}, "line 2: column 'image' should be"),
        ({"image": 7, "caption": "x"}, "line 2: column 'image' should be the path of a picture, got 7"),
        ({"image": "a", "caption": 7}, "line 2: column 'caption' should be a caption or a list"),
        ({"image": "a", "caption": [{"raw": "x"}]}, "line 2: column 'caption' should be a caption or a list"),
        ({"image": "a", "caption": "half \ud83d"}, "line 2: column 'caption' is not valid Unicode"),
        ({"image": "a", "caption": "x", "split": 1}, "line 2: column 'split' should name a split, got 1"),
    ],
)
def test_a_cell_of_the_wrong_kind_names_its_line(row: dict[str, object], message: str):
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        read_samples([{"image": "fine", "caption": "x", "split": "train"}, row])
    assert len(str(caught.value)) < 200


# ------------------------------------------------------------------ many strings


def test_strings_are_the_sequence_that_was_given():
    texts = ["".join(CHOICE.choices("aé猫😀\n\ud800", k=CHOICE.randrange(6))) for _ in range(200)]
    strings = Strings(texts)
    assert list(strings) == texts
    assert strings[17:3:-2] == tuple(texts[17:3:-2])
    assert [strings[-k] for k in range(1, 201)] == texts[::-1]
    for index in (200, -201):
        with pytest.raises(IndexError):
            strings[index]
    assert list(Strings()) == []


def test_sorted_strings_find():
    texts = sorted({"".join(CHOICE.choices("aé猫😀\uffff", k=CHOICE.randrange(5))) for _ in range(200)})
    strings = Strings(texts)
    assert [strings.find(text) for text in texts] == list(range(len(texts)))
    assert strings.find("b") is None
    assert strings.find("\U0010ffff" * 9) is None
    assert Strings().find("") is None
