from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from test_trainer import Heard
from toys import ToySource, ToyTask, final_bytes, read_lines, toy_model, toy_run, toy_train

from patchword.config import RunError, UserError
from patchword.training import checkpoint, learner, run_folder
from patchword.training.checkpoint import Checkpoints, load_state
from patchword.training.display import Silent
from patchword.training.files import damage
from patchword.training.state import Best, TrainState
from patchword.training.trainer import train


def steps(folder: Path) -> list[str]:
    return sorted(p.name for p in (folder / "checkpoints").iterdir())


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def test_only_the_latest_are_kept(tmp_path: Path) -> None:
    toy_train(toy_run(train__save_every=1, train__keep=3), tmp_path / "run")
    assert steps(tmp_path / "run") == ["step-00000010", "step-00000011", "step-00000012"]
    assert [damage(p) for p in (tmp_path / "run" / "checkpoints").iterdir()] == [None] * 3


def test_saved_with_every_evaluation_and_at_the_end(tmp_path: Path) -> None:
    toy_train(toy_run(train__steps=10, train__keep=9), tmp_path / "run")
    assert steps(tmp_path / "run") == ["step-00000004", "step-00000008", "step-00000010"]
    toy_train(toy_run(train__steps=10, train__keep=9, train__eval_every=None), tmp_path / "other")
    assert steps(tmp_path / "other") == ["step-00000010"]


def test_nothing_is_pickled(tmp_path: Path) -> None:
    toy_train(toy_run(train__ema=0.9), tmp_path / "run")
    for path in (tmp_path / "run").rglob("*.*"):
        if path.is_file() and path.name != ".lock":
            assert path.suffix in {".json", ".jsonl", ".yaml", ".safetensors"}
            assert b"\x80\x04" not in path.read_bytes()[:2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed training."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    toy_train(toy_run(train__save_every=4), folder)
    return folder


def assert_same(folder: Path, whole: Path) -> None:
    assert final_bytes(folder) == final_bytes(whole)
    assert read_lines(folder) == read_lines(whole)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("model.safetensors", flip),
        ("optimizer.safetensors", cut),
        ("rng.safetensors", Path.unlink),
        ("state.json", flip),
        ("state.json", cut),
        ("checksums.json", cut),
        ("checksums.json", Path.unlink),
    ],
)
def test_the_one_before_a_damaged_one_is_used(whole: Path, tmp_path: Path, name: str, harm) -> None:
    run = toy_run(train__save_every=4)
    shutil.copytree(whole, tmp_path / "run")
    harm(tmp_path / "run" / "checkpoints" / "step-00000012" / name)
    heard = Heard()
    train(run, ToyTask(run), toy_model(), ToySource(), tmp_path / "run", resume=True, display=heard)
    assert f"step-00000012 cannot be used: {name} is " in heard.texts[0]
    assert "resuming at step 8" in heard.texts[1]
    assert steps(tmp_path / "run") == ["step-00000008", "step-00000012", "step-00000012.damaged"]
    assert_same(tmp_path / "run", whole)


def test_all_are_damaged(whole: Path, tmp_path: Path) -> None:
    run = toy_run(train__save_every=4)
    shutil.copytree(whole, tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        (path / "state.json").unlink()
    heard = Heard()
    train(run, ToyTask(run), toy_model(), ToySource(), tmp_path / "run", resume=True, display=heard)
    assert len([text for text in heard.texts if "cannot be used" in text]) == 2
    assert_same(tmp_path / "run", whole)


def test_the_state_goes_to_json_and_back(tmp_path: Path) -> None:
    state = TrainState(step=3, best=Best(2, {"loss": 1 / 3}), meter={"total": 0.1 + 0.2}, evaluated=2)
    again = TrainState.from_dict(json.loads(json.dumps(state.to_dict())))
    assert again == state
    assert isinstance(again.best, Best)
    assert again.position.epoch == 0


# ------------------------------------------------------------------ by time


class Watch:
    """A clock that moves by hand, 20 s a loss."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, task: ToyTask) -> None:
        self.now = 1000.0
        monkeypatch.setattr(checkpoint, "time", SimpleNamespace(monotonic=lambda: self.now))
        task.on_loss = self.tick

    def tick(self, count: int) -> None:
        self.now += 20


@pytest.mark.parametrize(
    ("minutes", "every", "expected"),
    [(1, None, [3, 6, 9, 12]), (1, 2, [2, 4, 6, 8, 10, 12]), (1, 4, [3, 4, 7, 8, 11, 12]), (None, None, [12])],
)
def test_saved_when_the_last_one_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, minutes: float | None, every: int | None, expected: list[int]
) -> None:
    run = toy_run(train__eval_every=None, train__save_every=every, train__save_minutes=minutes, train__keep=99)
    task = ToyTask(run)
    Watch(monkeypatch, task)
    toy_train(run, tmp_path / "run", task=task)
    assert steps(tmp_path / "run") == [f"step-{step:08d}" for step in expected]


def test_by_time_a_full_disk_is_told_of_once_in_that_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = toy_run(train__eval_every=None, train__save_minutes=1)
    task, heard, disk = ToyTask(run), Heard(), FullDisk(monkeypatch)
    Watch(monkeypatch, task)
    disk.full = True
    with pytest.raises(RunError, match="could not save at the end, step 12"):
        train(run, task, toy_model(), ToySource(), tmp_path / "run", display=heard)
    told = [text.split(":")[1] for text in heard.texts if "no checkpoint at" in text]
    assert told == [f" no checkpoint at step {step}" for step in (3, 6, 9, 12)]


# ------------------------------------------------------------------ a full disk


class FullDisk:
    """Writing tensors fails while `full`, in the middle of a checkpoint."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        for module, name in ((learner, "save_tensors"), (checkpoint, "save_tensors"), (run_folder, "save_weights")):
            monkeypatch.setattr(module, name, self._unless_full(getattr(module, name)))

    def _unless_full(self, save):
        def write(what, path: Path) -> None:
            if self.full:
                path.write_bytes(b"half")
                raise OSError(errno.ENOSPC, "No space left on device")
            save(what, path)

        return write


def test_a_full_disk_in_between_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, run = FullDisk(monkeypatch), toy_run(train__save_every=2, train__keep=3, train__optimizer__lr=0.001)
    task = ToyTask(run)

    def use_up(count: int) -> None:
        disk.full = count in (5, 6)
        if count == 7:
            assert steps(tmp_path / "run") == ["step-00000002", "step-00000004"]

    task.on_loss = use_up
    heard = Heard()
    result = train(run, task, toy_model(), ToySource(), tmp_path / "run", display=heard)
    (warning,) = [text for text in heard.texts if "warning" in text]
    assert "no checkpoint at step 6: [Errno 28] No space left on device" in warning
    assert "step-00000004 is safe" in warning
    assert result.steps == 12
    assert steps(tmp_path / "run") == ["step-00000008", "step-00000010", "step-00000012"]
    monkeypatch.undo()
    toy_train(run, tmp_path / "whole")
    assert final_bytes(tmp_path / "run") == final_bytes(tmp_path / "whole")


def test_a_full_disk_at_the_end_says_what_is_safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, run = FullDisk(monkeypatch), toy_run()
    task = ToyTask(run)

    def use_up(count: int) -> None:
        disk.full = count >= 10

    task.on_loss = use_up
    with pytest.raises(RunError, match=r"No space left.*step-00000008 is safe. Make room.*patchword train .* --resume"):
        toy_train(run, tmp_path / "run", task=task)
    assert steps(tmp_path / "run") == ["step-00000004", "step-00000008"]
    assert all(damage(path) is None for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert damage(tmp_path / "run" / "model") is None
    disk.full = False
    toy_train(run, tmp_path / "run", resume=True)
    monkeypatch.undo()
    toy_train(run, tmp_path / "whole")
    assert final_bytes(tmp_path / "run") == final_bytes(tmp_path / "whole")


def test_best_weights_that_could_not_be_written_are_not_called_best(tmp_path: Path, monkeypatch) -> None:
    disk, run = FullDisk(monkeypatch), toy_run(train__optimizer__lr=0.001)
    task = ToyTask(run)
    task.on_evaluate = lambda count: setattr(disk, "full", count == 2)
    task.on_loss = lambda count: setattr(disk, "full", False)
    toy_train(run, tmp_path / "run", task=task)
    assert [line["best"] for line in read_lines(tmp_path / "run", "eval")] == [True, False, True]


def test_metrics_that_cannot_be_written_do_not_stop_training(tmp_path: Path) -> None:
    run = toy_run()
    (tmp_path / "run").mkdir()
    task = ToyTask(run)
    heard = Heard()

    def swap(count: int) -> None:
        if count == 1:
            session_file = tmp_path / "run" / "metrics.jsonl"
            assert session_file.exists()

    task.on_loss = swap
    with pytest.MonkeyPatch.context() as patch:

        def refuse(self, line):
            raise OSError("cannot write metrics.jsonl: the disk is full or not writable")

        patch.setattr("patchword.training.log.MetricsFile.write", refuse)
        result = train(run, task, toy_model(), ToySource(), tmp_path / "run", display=heard)
    assert result.steps == 12
    assert "warning: cannot write metrics.jsonl" in heard.texts[0]


# ------------------------------------------------------------------ resuming something else


def test_other_data_is_refused(tmp_path: Path) -> None:
    run = toy_run()
    toy_train(run, tmp_path / "run")
    with pytest.raises(UserError, match=r"begun with other data .37 training examples there, 36 here"):
        train(run, ToyTask(run), toy_model(), ToySource(train=36), tmp_path / "run", resume=True, display=Silent())


def test_fewer_steps_than_done_are_refused(tmp_path: Path) -> None:
    toy_train(toy_run(), tmp_path / "run")
    with pytest.raises(UserError, match=r"train.steps is 11; .* has already done 12"):
        toy_train(toy_run(train__steps=11), tmp_path / "run", resume=True)


def test_another_model_is_refused(tmp_path: Path) -> None:
    run = toy_run()
    toy_train(run, tmp_path / "run")
    import torch

    model = toy_model()
    model.body.append(torch.nn.Linear(8, 8))
    with pytest.raises(UserError, match=r"weights of another model[\s\S]*body.4.weight"):
        train(run, ToyTask(run), model, ToySource(), tmp_path / "run", resume=True, display=Silent())


def test_checkpoints_of_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    there = Checkpoints(tmp_path / "none", 2)
    assert there.all() == []
    assert there.newest(print) is None


def test_a_checkpoint_can_be_copied(tmp_path: Path) -> None:
    run = toy_run()
    toy_train(run, tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    path = Checkpoints(tmp_path / "copy" / "checkpoints", 2).newest(print)
    assert path is not None
    assert load_state(path).step == 12
