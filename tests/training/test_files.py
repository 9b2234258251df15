from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from toys import ToyModel, toy_model

from patchword.config import UserError
from patchword.training.files import damage, recover, whole_folder, write_text
from patchword.training.weights import load_tensors, load_weights, save_tensors, save_weights


def fill(path: Path, text: str = "new") -> None:
    with whole_folder(path) as folder:
        (folder / "a.txt").write_text(text)
        (folder / "deep").mkdir()
        (folder / "deep" / "b.bin").write_bytes(os.urandom(50))


def names(path: Path) -> set[str]:
    return {p.name for p in path.iterdir()}


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "out") as folder:
        (folder / "a.txt").write_text("a")
        assert not (tmp_path / "out").exists()
    assert names(tmp_path) == {"out"}
    assert names(tmp_path / "out") == {"a.txt", "checksums.json"}
    assert damage(tmp_path / "out") is None


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    fill(tmp_path / "out", "old")
    fill(tmp_path / "out", "new")
    assert names(tmp_path) == {"out"}
    assert (tmp_path / "out" / "a.txt").read_text() == "new"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_what_was_there(tmp_path: Path, error: BaseException) -> None:
    fill(tmp_path / "out", "old")

    def fail() -> None:
        with whole_folder(tmp_path / "out") as folder:
            (folder / "a.txt").write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert names(tmp_path) == {"out"}
    assert (tmp_path / "out" / "a.txt").read_text() == "old"
    assert damage(tmp_path / "out") is None


def test_everything_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    rename = Path.rename

    def note_sync(handle: int) -> None:
        events.append("sync " + Path(os.readlink(f"/proc/self/fd/{handle}")).name)

    def note_rename(self: Path, target: Path) -> Path:
        events.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "rename", note_rename)
    fill(tmp_path / "out")
    before = events[: events.index("rename")]
    assert set(before) == {"sync a.txt", "sync deep", "sync b.bin", "sync checksums.json", "sync .tmp-out"}
    assert events[len(before) :] == ["rename", f"sync {tmp_path.name}"]


@pytest.mark.parametrize(
    ("there", "left"),
    [
        ([".tmp-out"], set()),  # killed while writing
        (["out", ".tmp-out"], {"out"}),
        (["out", ".old-out"], {"out"}),  # killed before the replaced one was removed
        ([".old-out", ".tmp-out"], {"out"}),  # killed between the two renames
    ],
)
def test_recovery(tmp_path: Path, there: list[str], left: set[str]) -> None:
    for name in there:
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    (tmp_path / ".tmp-note.txt").write_text("half")
    recover(tmp_path)
    assert names(tmp_path) == left
    if left and "out" not in there:
        assert (tmp_path / "out" / "file").read_text() == ".old-out"


def test_damage_is_found(tmp_path: Path) -> None:
    fill(tmp_path / "out")
    path = tmp_path / "out" / "deep" / "b.bin"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert damage(tmp_path / "out") == "deep/b.bin is damaged (its checksum does not hold)"
    path.unlink()
    assert damage(tmp_path / "out") == "deep/b.bin is missing"
    (tmp_path / "out" / "checksums.json").write_text('{"sha256": {')
    assert damage(tmp_path / "out") == "checksums.json is damaged"
    (tmp_path / "out" / "checksums.json").write_text("[1]")
    assert damage(tmp_path / "out") == "checksums.json is damaged"
    (tmp_path / "out" / "checksums.json").unlink()
    assert damage(tmp_path / "out") == "checksums.json is missing"


def test_text_is_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "a", "one\n")

    def fail(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_text(tmp_path / "a", "two\n")
    assert names(tmp_path) == {"a"}
    assert (tmp_path / "a").read_text() == "one\n"


# ------------------------------------------------------------------ weights


def test_tied_weights_are_written_once_and_stay_tied(tmp_path: Path) -> None:
    model, other = toy_model(1), toy_model(2)
    save_weights(model, tmp_path / "w.safetensors")
    stored = load_tensors(tmp_path / "w.safetensors")
    assert len(stored) == len(list(model.parameters()))
    load_weights(other, tmp_path / "w.safetensors")
    assert other.head.weight is other.table.weight
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), other.parameters(), strict=True))


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    save_weights(torch.nn.Linear(2, 3), tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"w.safetensors: weights of another model[\s\S]*head.weight"):
        load_weights(ToyModel(), tmp_path / "w.safetensors")
    (tmp_path / "w.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match="not a whole safetensors file"):
        load_weights(ToyModel(), tmp_path / "w.safetensors")


def test_a_disk_that_refuses_is_an_oserror(tmp_path: Path) -> None:
    for save in (lambda p: save_tensors({"a": torch.ones(2)}, p), lambda p: save_weights(ToyModel(), p)):
        with pytest.raises(OSError, match="cannot write"):
            save(tmp_path / "missing" / "w.safetensors")


def test_views_are_written_as_they_look(tmp_path: Path) -> None:
    tensor = torch.randn(4, 5).T
    save_tensors({"a": tensor, "b": torch.tensor(3.5)}, tmp_path / "t")
    assert torch.equal(load_tensors(tmp_path / "t")["a"], tensor)
    assert load_tensors(tmp_path / "t")["b"] == 3.5
