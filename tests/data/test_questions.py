"""Sources of questions: tables, VQA's own files, easy-VQA's and DAQUAR's layouts; labels beside captions."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from written import write

from patchword.config import (
    AlteredMatchingConfig,
    ColumnsConfig,
    DataConfig,
    Fields,
    ScenesConfig,
    SplitsConfig,
    SwappedMatchingConfig,
    UserError,
)
from patchword.data.base import Source, Split
from patchword.data.doctor import check
from patchword.data.file_source import NotedSource
from patchword.data.sources import open_source

FIELDS = Fields(("question", "answer"), ("question_type",))
PAIRS = Fields(("caption", "label"))
ALL = SplitsConfig(val=0.0)


def png(grey: int = 0) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), grey, np.uint8)).save(out, "PNG")
    return out.getvalue()


def opened(source: str | Path, fields: Fields = FIELDS, **settings: Any) -> NotedSource:
    return open_source(DataConfig(source=str(source), **settings), fields)


def refusal(source: str | Path, fields: Fields = FIELDS, **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        opened(source, fields, **settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def texts(source: Source, split: str = "train") -> dict[str, dict[str, tuple[str, ...]]]:
    part = source.splits[split]
    return {part.record(i).id: dict(part.record(i).texts) for i in range(len(part))}


# ------------------------------------------------------------------ layouts


def test_easy_vqa_with_both_parts(tmp_path: Path) -> None:
    rows = {"train": [["what?", "red", 0], ["is it?", "yes", 0], ["what?", "blue", 1]], "test": [["what?", "red", 0]]}
    for part, grey in (("train", 10), ("test", 200)):
        write(tmp_path, {f"{part}/questions.json": json.dumps(rows[part]).encode()})
        write(tmp_path / part / "images.tar", {f"images/{i}.png": png(grey + i) for i in range(2)})
    source = opened(tmp_path, splits=ALL)
    assert texts(source, "test") == {"0": {"question": ("what?",), "answer": ("red",)}}
    assert texts(source) == {  # ids are unique, although both parts call a picture 0
        "train/images/images/0.png": {"question": ("what?", "is it?"), "answer": ("red", "yes")},
        "1": {"question": ("what?",), "answer": ("blue",)},
    }
    again = pickle.loads(pickle.dumps(source))
    assert again.splits["train"].read(1) == png(11)
    assert again.splits["test"].read(0) == png(200), "each table means the pictures beside it"


def test_daquar(tmp_path: Path) -> None:
    write(
        tmp_path, {"train.csv": b'question,answer,image_id\nwhat is on it ?,"book, pen",image3\nhow many ?,2,image3\n'}
    )
    write(tmp_path, {"val.csv": b"question,answer,image_id\nwhat is it ?,bed,image10\n"})
    write(
        tmp_path / "images.tar", {"images/image3.jpg": png(), "images/image10.jpg": png(1), "images/image1.jpg": png()}
    )
    source = opened(tmp_path)
    assert texts(source) == {"image3": {"question": ("what is on it ?", "how many ?"), "answer": ("book, pen", "2")}}
    assert source.splits["val"].read(0) == png(1)
    apart = opened(tmp_path, columns=ColumnsConfig(answer_separator=", "))
    assert texts(apart)["image3"] == {
        "question": ("what is on it ?", "what is on it ?", "how many ?"),
        "answer": ("book", "pen", "2"),
    }


def vqa(part: str, ids: list[int], answers: list[str]) -> dict[str, bytes]:
    questions = [{"image_id": i, "question": f"what is {i}?", "question_id": 10 * i} for i in ids]
    annotations = [
        {
            "question_id": 10 * i,
            "image_id": i,
            "question_type": "what is",
            "multiple_choice_answer": answers[0],
            "answers": [{"answer": a, "answer_confidence": "yes", "answer_id": n} for n, a in enumerate(answers, 1)],
        }
        for i in reversed(ids)
    ]
    return {
        f"v2_OpenEnded_mscoco_{part}_questions.json": json.dumps({"info": {}, "questions": questions}).encode(),
        f"v2_mscoco_{part}_annotations.json": json.dumps({"info": {}, "annotations": annotations}).encode(),
        **{f"{part}/COCO_{part}_{i:012}.jpg": png(i) for i in ids},
    }


def test_vqa_own_files(tmp_path: Path) -> None:
    write(tmp_path, vqa("train2014", [9, 25], ["net", "a net"]) | vqa("val2014", [42], ["cat"]))
    source = opened(tmp_path)
    assert texts(source) == {
        str(i): {"question": (f"what is {i}?",) * 2, "answer": ("net", "a net"), "question_type": ("what is",) * 2}
        for i in (9, 25)
    }
    assert source.splits["train"].read(1) == png(25)
    assert list(texts(source, "val")) == ["42"]


def test_questions_and_annotations_under_plain_names(tmp_path: Path) -> None:
    """One pair is one table, whatever stands before both names; and that may say a split."""
    for name, stems in {"a": [""], "b": ["mine_"], "c": ["train_", "val_"]}.items():
        for i, stem in enumerate(stems):
            questions, annotations, _ = vqa("train2014", [9 - i], ["net"]).values()
            pair = {f"{stem}questions.json": questions, f"{stem}annotations.json": annotations}
            write(tmp_path / name, {**pair, f"{9 - i}.png": png()})
        assert texts(opened(tmp_path / name, splits=ALL))["9"]["answer"] == ("net",)
    assert list(texts(opened(tmp_path / "c"), "val")) == ["8"]
    write(tmp_path / "a", {"more.csv": b"image,question,answer\n9.png,what?,net\n"})
    assert "3 tables: annotations.json, more.csv, questions.json" in refusal(tmp_path / "a")


def test_an_answer_may_be_a_number(tmp_path: Path) -> None:
    rows = [{"image": "9.png", "question": "how many?", "answer": answer} for answer in (3, "three", [3, 4])]
    write(tmp_path, {"t.json": json.dumps(rows).encode(), "9.png": png()})
    assert texts(opened(tmp_path, splits=ALL))["9.png"]["answer"] == ("3", "three", "3", "4")
    (tmp_path / "t.json").write_text('[{"image": "9.png", "question": "is it?", "answer": true}]')
    assert "t.json, entry 1: column 'answer' should be an answer" in refusal(tmp_path)


def test_questions_and_annotations_in_one_file(tmp_path: Path) -> None:
    files = vqa("train2014", [9], ["net"])
    both: dict[str, Any] = {}
    for name in list(files):
        both |= json.loads(files.pop(name)) if name.endswith(".json") else {}
    write(tmp_path, {"t.json": json.dumps(both).encode(), "9.png": png()})
    assert texts(opened(tmp_path, splits=ALL))["9"]["answer"] == ("net",)


def test_what_is_wrong_with_vqa_own_files(tmp_path: Path) -> None:
    files = vqa("train2014", [9], ["net"])
    name = "v2_mscoco_train2014_annotations.json"
    write(tmp_path / "a", {n: data for n, data in files.items() if n.endswith((".jpg", "annotations.json"))})
    assert f"{name}: no file of the questions" in refusal(tmp_path / "a")
    other = vqa("train2014", [8], ["net"])
    write(tmp_path / "b", files | {name: other[name]})
    assert "question 90 has no annotation" in refusal(tmp_path / "b")
    write(tmp_path / "c", {n: data for n, data in files.items() if n != name})
    assert "no column for the answer" in refusal(tmp_path / "c")
    write(tmp_path / "d", files | {name: b'{"annotations": [{"question_id": null}]}'})
    assert "annotation 1: 'question_id' should be" in refusal(tmp_path / "d")


def test_lists_that_are_no_questions(tmp_path: Path) -> None:
    write(tmp_path, {"t.json": b'[["what?", "red", 0], ["what?", "red"]]', "0.png": png()})
    assert "t.json, entry 1: should be an object" in refusal(tmp_path)


# ------------------------------------------------------------------ names of pictures


@pytest.mark.parametrize(
    ("name", "found"),
    [("image3", "in/image3.png"), ("in/image3", "in/image3.png"), ("7", "7.png"), ("30", "x_0030.png")],
)
def test_pictures_without_an_ending(tmp_path: Path, name: str, found: str) -> None:
    files = {file: png(i) for i, file in enumerate(("in/image3.png", "7.png", "a_007.png", "x_0030.png", "30.txt"))}
    write(tmp_path, files | {"t.csv": f"image,question,answer\n{name},a?,b\n".encode()})
    assert opened(tmp_path, splits=ALL).splits["train"].read(0) == files[found]


def test_a_number_that_could_be_two_pictures(tmp_path: Path) -> None:
    write(tmp_path, {"a_1.png": png(), "b_01.png": png(), "t.csv": b"image_id,question,answer\n1,a?,b\n"})
    assert "t.csv, line 2: picture '1' could be 'a_1.png' or 'b_01.png'" in refusal(tmp_path)
    write(tmp_path, {"t.csv": b"image_id,question,answer\n2,a?,b\n"})
    assert "none of its 1 pictures can be found" in refusal(tmp_path)


# ------------------------------------------------------------------ texts that go together


def test_several_answers_repeat_their_question(tmp_path: Path) -> None:
    rows = [
        {"image": "a.png", "question": "what?", "answers": ["dog", "", "hound"], "question_type": "what"},
        {"image": "a.png", "question": ["how many?", "where?"], "answers": ["1", "here"], "question_type": None},
        {"image": "b.png", "question": "what?", "answers": []},
    ]
    write(tmp_path, {"t.jsonl": "\n".join(map(json.dumps, rows)).encode(), "a.png": png(), "b.png": png()})
    source = opened(tmp_path, splits=ALL)
    assert texts(source) == {
        "a.png": {
            "question": ("what?", "what?", "how many?", "where?"),
            "answer": ("dog", "hound", "1", "here"),
            "question_type": ("what", "what", "", ""),
        }
    }
    assert source.notes.empty == {"answer": (f"{tmp_path}/t.jsonl, line 1", f"{tmp_path}/t.jsonl, line 3")}
    assert source.notes.without_texts == ("b.png",)


def test_texts_that_do_not_go_in_pairs(tmp_path: Path) -> None:
    row = {"image": "a.png", "question": ["what?", "where?"], "answers": ["1", "2", "3"]}
    write(tmp_path, {"t.jsonl": json.dumps(row).encode(), "a.png": png()})
    assert "t.jsonl, line 1: 2 questions, but 3 answers" in refusal(tmp_path)
    write(tmp_path, {"t.jsonl": json.dumps(row | {"answers": [3.5]}).encode()})
    assert "column 'answers' should be an answer or a list of them, got 3.5" in refusal(tmp_path)


def test_a_column_that_one_table_lacks(tmp_path: Path) -> None:
    write(tmp_path, {"train.csv": b"image,question,answer,question_type\na.png,what?,dog,animal\n", "a.png": png()})
    write(tmp_path, {"val.csv": b"image,question,answer\na.png,where?,here\n"})
    said = texts(opened(tmp_path))["a.png"]
    assert said == {"question": ("what?", "where?"), "answer": ("dog", "here"), "question_type": ("animal", "")}


def test_labels_stay_beside_their_captions(tmp_path: Path) -> None:
    rows = b"image,caption,label\na.png,a dog,yes\na.png,a cat,no\na.png,a hound,yes\na.png,,no\n"
    write(tmp_path, {"t.csv": rows, "a.png": png()})
    assert texts(opened(tmp_path, PAIRS, splits=ALL)) == {
        "a.png": {"caption": ("a dog", "a cat", "a hound"), "label": ("yes", "no", "yes")}
    }
    assert texts(opened(tmp_path, Fields(("label",)), splits=ALL)) == {"a.png": {"label": ("yes", "no")}}
    assert not check(DataConfig(source=str(tmp_path), splits=ALL), fields=PAIRS).problems[1:]
    write(tmp_path, {"t.csv": b"image,caption_0,caption_1,label\na.png,a dog,a hound,dog\n"})
    assert texts(opened(tmp_path, PAIRS, splits=ALL))["a.png"]["label"] == ("dog", "dog")


def test_a_separator_for_who_reads_no_answers(tmp_path: Path) -> None:
    write(tmp_path, {"t.csv": b"image,caption\na.png,a dog\n", "a.png": png()})
    assert "answer_separator=;: this task reads no answer" in refusal(
        tmp_path, Fields(("caption",)), columns=ColumnsConfig(answer_separator=";")
    )


# ------------------------------------------------------------------ the embedded data set


def test_questions_about_scenes() -> None:
    split = opened("scenes", scenes=ScenesConfig(train=3)).splits["train"]
    said = split.record(2).texts
    assert len(said["question"]) == len(said["answer"]) == len(said["question_type"]) >= 7
    assert dict(zip(said["question"], said["answer"], strict=True))["how many objects are there?"] == "three"
    assert said["question_type"][0] == "count"


def test_captions_and_labels_of_scenes_go_in_pairs() -> None:
    said = opened("scenes", PAIRS, scenes=ScenesConfig(train=1)).splits["train"].record(0).texts
    assert len(said["caption"]) == len(said["label"]) == 5
    assert len(set(said["label"])) == 1


# ------------------------------------------------------------------ captions that are made wrong


def rights(split: Split) -> list[str]:
    return [label for i in range(len(split)) for label in split.record(i).texts["label"]]


def test_swapped_captions(tmp_path: Path) -> None:
    rows = "".join(f"{i}.png,thing {i},{'val' if i % 4 == 0 else 'train'}\n{i}.png,same,\n" for i in range(40))
    write(tmp_path, {"t.csv": f"image,caption,split\n{rows}".encode(), **{f"{i}.png": png() for i in range(40)}})
    source = opened(tmp_path, PAIRS, matching=SwappedMatchingConfig())
    for name, split in source.splits.items():
        own = {f"thing {split.record(i).id[:-4]}" for i in range(len(split))}
        for i in range(len(split)):
            record = split.record(i)
            assert split.record(i) == record
            for caption, label in zip(*record.texts.values(), strict=True):
                if label == "no":
                    assert caption in own - {f"thing {record.id[:-4]}"}, f"another one's, and of {name}"
                else:
                    assert caption in (f"thing {record.id[:-4]}", "same")
    labels = rights(source.splits["train"])
    assert 0.3 < labels.count("no") / len(labels) < 0.7
    other = opened(tmp_path, PAIRS, matching=SwappedMatchingConfig(seed=1))
    assert rights(other.splits["train"]) != labels
    none = opened(tmp_path, PAIRS, matching=SwappedMatchingConfig(share=0.0))
    assert set(rights(none.splits["train"])) == {"yes"}
    assert pickle.loads(pickle.dumps(source)).splits["train"].read(0) == png()


def test_captions_that_cannot_be_swapped(tmp_path: Path) -> None:
    write(tmp_path, {"t.csv": b"image,caption\na.png,a dog\nb.png,a dog\n", "a.png": png(), "b.png": png(1)})
    swapped = SwappedMatchingConfig(share=1.0)
    split = opened(tmp_path, PAIRS, splits=ALL, matching=swapped).splits["train"]
    with pytest.raises(UserError, match="has no caption of another picture"):
        split.record(0)
    assert "reads no such pairs" in refusal(tmp_path, Fields(("caption",)), matching=swapped)
    assert "reads no such pairs" in refusal("scenes", Fields(("caption",)), matching=AlteredMatchingConfig())
    assert "scenes know what to alter" in refusal(tmp_path, PAIRS, matching=AlteredMatchingConfig())
    german = ScenesConfig(language="de")
    assert "altered captions are English" in refusal("scenes", PAIRS, matching=AlteredMatchingConfig(), scenes=german)


def test_altered_captions_of_scenes() -> None:
    source = opened("scenes", PAIRS, matching=AlteredMatchingConfig(), scenes=ScenesConfig(train=60))
    truth = opened("scenes", Fields(("caption",)), scenes=ScenesConfig(train=60))
    for i in range(60):
        said = source.splits["train"].record(i).texts
        [caption], [label] = said["caption"], said["label"]
        assert truth.describes("train", i, caption) == (label == "yes")
    assert 15 < rights(source.splits["train"]).count("no") < 45


@pytest.mark.parametrize(("name", "questions", "val"), [("easy_vqa", 38_575, 0), ("daquar", 6_101, 694)])
def test_the_shared_data_sets(name: str, questions: int, val: int, shared: Path) -> None:
    source = opened(shared / "data" / name, splits=ALL)
    counts = {
        part: sum(len(split.record(i).texts["question"]) for i in range(len(split)))
        for part, split in source.splits.items()
    }
    assert counts == {"train": questions, **({"val": val} if val else {})}
