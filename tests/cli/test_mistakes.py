"""Wrong input: one message that says what, where and what would be right; exit 2; no traceback; nothing lost."""

from __future__ import annotations

import errno
import shutil
import struct
import zlib
from pathlib import Path

import pytest
from cli_helpers import Called, photos, toy

from patchword.training.files import write_checksums


def refused(done: Called, *said: str) -> None:
    assert done.code == 2, done
    assert done.out == ""
    assert done.err.count("error:") == 1
    assert "Traceback" not in done.err
    for words in said:
        assert words in done.err


def huge_png(path: Path) -> Path:
    """A header that promises 30,000 x 30,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def test_an_unknown_preset(call, tmp_path: Path) -> None:
    refused(call("show", "captioner-tinny"), "captioner-tinny", "did you mean 'captioner-tiny'?", "captioner-base")
    refused(call("train", "captoner-tiny", "--out", tmp_path / "x"), "did you mean 'captioner-tiny'?")
    assert not (tmp_path / "x").exists()


def test_unknown_words(call) -> None:
    assert call("trian").code == 2
    refused(call("show", "captioner-tiny", "train.stepz=3"), "train.stepz", "did you mean 'steps'?")
    refused(call("show", "captioner-tiny", "steps"), "override 'steps'", "train.steps=500")
    refused(call("train", "captioner-tiny"), "--out")
    assert call("show", "captioner-tiny", "--schemaa").code == 2


def test_a_missing_picture(call, trained: Path) -> None:
    refused(call("predict", trained, "--image", "nowhere.jpg"), "nowhere.jpg", "No such file")
    refused(call("predict", trained), "--image")


def test_pictures_that_are_none(call, trained: Path, tmp_path: Path) -> None:
    whole = photos(tmp_path / "photos") / "0.jpg"
    short = tmp_path / "short.jpg"
    short.write_bytes(whole.read_bytes()[:-200])
    refused(call("predict", trained, "--image", short), "short.jpg", "truncated")
    refused(
        call("predict", trained, "--image", huge_png(tmp_path / "huge.png")), "huge.png", "too many pixels", "900000000"
    )
    text = tmp_path / "page.jpg"
    text.write_text("<html>404</html>")
    refused(call("predict", trained, "--image", text), "page.jpg")
    refused(call("predict", trained, "--image", tmp_path), str(tmp_path))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("picture,caption\n0.jpg,a dog\n", ["data.columns.image", "picture"]),
        ("image,sentense\n0.jpg,a dog\n", ["data.columns.caption", "sentense"]),
        ('image,caption\n0.jpg,"a dog\n1.jpg,a cat\n', ["captions.csv", "line"]),
        ("image,caption\n0.jpg,a dog,too many\n", ["captions.csv", "line 2"]),
        ("image,caption\n", ["captions.csv"]),
        ("", ["captions.csv"]),
    ],
    ids=["no image column", "no caption column", "broken quote", "too many cells", "no rows", "empty file"],
)
def test_broken_tables(call, tmp_path: Path, table: str, said: list[str]) -> None:
    data = photos(tmp_path / "photos")
    (data / "captions.csv").write_text(table)
    refused(call("check", data), *said)
    refused(call("train", "captioner-tiny", f"data.source={data}", *toy(), "--out", tmp_path / "run"), *said)
    assert not (tmp_path / "run").exists()


def test_data_that_is_not_there(call, tmp_path: Path) -> None:
    refused(call("check", tmp_path / "nothing"), "nothing")
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(call("check", empty), str(empty))


def test_folders_that_are_no_run(call, tmp_path: Path, trained: Path) -> None:
    refused(call("evaluate", tmp_path), "is not a run folder")
    refused(call("predict", tmp_path / "nowhere", "--image", "x.jpg"), "no such run folder")
    broken = tmp_path / "broken"
    shutil.copytree(trained, broken)
    weights = broken / "model/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10] + b"0123456789")
    refused(call("evaluate", broken), "model.safetensors")
    refused(call("evaluate", trained, "--split", "tset"), "unknown split 'tset'", "train", "val")


def test_a_run_of_another_task(call, tmp_path: Path, trained: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    facts = other / "model/config.json"
    facts.write_text(facts.read_text().replace('"kind": "captioning"', '"kind": "juggling"'))
    write_checksums(facts.parent)
    said = ["task.kind", "unknown task kind 'juggling'", "allowed: captioning"]
    refused(call("predict", other, "--image", trained.parent / "photos/0.jpg"), *said)
    refused(call("evaluate", other), *said)


def test_a_run_folder_that_is_taken(call, trained: Path) -> None:
    def held() -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in trained.rglob("*") if p.is_file() and p.name != ".lock"}

    before, data = held(), trained.parent / "photos"
    refused(call("train", "captioner-tiny", *toy(f"data.source={data}"), "--out", trained), "--resume", "--out")
    other = ["model.trunk.depth=2", f"data.source={data}"]
    refused(call("train", "captioner-tiny", *toy(*other), "--out", trained, "--resume"), "model.trunk.depth")
    assert held() == before


def test_too_many_bad_samples_stop_training_by_name(call, tmp_path: Path) -> None:
    data = photos(tmp_path / "photos")
    for i in range(8):
        (data / f"{i}.jpg").write_bytes(b"nothing")
    done = call("train", "captioner-tiny", f"data.source={data}", *toy("train.steps=100"), "--out", tmp_path / "run")
    assert done.code in (1, 2)
    assert ".jpg" in done.err
    assert "Traceback" not in done.err


def test_one_bad_sample_may_be_fatal(call, tmp_path: Path) -> None:
    data = photos(tmp_path / "photos")
    (data / "2.jpg").write_bytes(b"nothing")
    words = ["data.bad_samples.policy=fatal", "data.splits.val=0", "train.steps=9"]
    done = call("train", "captioner-tiny", f"data.source={data}", *toy(*words), "--out", tmp_path / "run")
    assert done.code in (1, 2)
    assert "2.jpg" in done.err


def test_a_full_disk_at_checkpoint_time_loses_nothing(call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from patchword.training import checkpoint

    data = photos(tmp_path / "photos")
    out = ["--out", tmp_path / "run"]
    assert call("train", "captioner-tiny", *toy(f"data.source={data}"), *out).code == 0
    words = ["train", "captioner-tiny", *toy(f"data.source={data}", "train.steps=8"), *out, "--resume"]
    kept = sorted(p.name for p in (tmp_path / "run/checkpoints").iterdir())

    def full(*args: object, **settings: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_tensors", full)
    done = call(*words)
    assert done.code == 1
    assert "No space left" in done.err
    assert "--resume" in done.err
    assert "Traceback" not in done.err
    assert sorted(p.name for p in (tmp_path / "run/checkpoints").iterdir()) == kept
    monkeypatch.undo()
    assert call(*words).code == 0


def test_a_picture_size_that_is_no_whole_number_of_patches(call) -> None:
    refused(call("show", "captioner-tiny", "data.image.height=60"), "data.image.height", "16 pixels")


def test_a_folder_is_no_configuration(call, tmp_path: Path, trained: Path) -> None:
    refused(call("train", trained, "--out", tmp_path / "x"), str(trained / "config.yaml"))
    refused(call("train", trained.parent / "photos", "--out", tmp_path / "x"), "captioner-tiny", "data.source=")


def test_words_that_are_no_arguments(call, trained: Path) -> None:
    refused(call("show", "captioner-tiny", "--train.steps=5"), "Settings have no dashes: train.steps=VALUE")
    refused(call("predict", trained, "new.jpg"), "new.jpg", "See: patchword predict --help")
    refused(call("evaluate", trained, "--limit", "0"), "--limit")


def test_words_that_the_model_does_not_have(call, trained: Path) -> None:
    picture = trained.parent / "photos/0.jpg"
    refused(call("predict", trained, "--image", picture, "--text", "a zebra red ☃"), "zebra, ☃")


def test_a_refused_training_leaves_no_folder(call, tmp_path: Path) -> None:
    data = f"data.source={photos(tmp_path / 'photos')}"
    for words in (["train.best_metric=acuracy"], ["train.device=cuda:99"]):
        done = call("train", "captioner-tiny", *toy(data, *words), "--out", tmp_path / "run")
        refused(done, words[0].partition("=")[0])
        assert not (tmp_path / "run").exists()
