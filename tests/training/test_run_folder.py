from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from toys import ToySource, ToyTask, toy_model, toy_run, toy_train

from patchword.config import UserError, override, to_yaml
from patchword.training.display import Silent
from patchword.training.run_folder import claim_run, open_run, prepared_task
from patchword.training.trainer import train
from patchword.training.weights import load_weights


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    toy_train(toy_run(), folder)
    return folder


def test_a_run_is_opened(done: Path) -> None:
    opened = open_run(done)
    assert opened.run == toy_run()
    assert (opened.folder, opened.weights) == (done / "model", done / "model" / "model.safetensors")
    ToyTask.load(opened.run, opened.folder)
    load_weights(toy_model(), opened.weights)
    assert open_run(str(done), task="captioning") == opened


def test_the_model_alone_is_enough(done: Path, tmp_path: Path) -> None:
    shutil.copytree(done / "model", tmp_path / "mine")
    assert open_run(tmp_path / "mine").weights == tmp_path / "mine" / "model.safetensors"


def test_the_configuration_of_the_model_is_complete(done: Path, tmp_path: Path) -> None:
    class Filling(ToyTask):
        def model_config(self):
            return override(self.run.model, {"text.vocab_size": 77})

    run = toy_run(train__steps=1)
    train(run, Filling(run), toy_model(), ToySource(), tmp_path / "run", display=Silent())
    assert open_run(tmp_path / "run").run.model.towers["text"].vocab_size == 77  # pyright: ignore
    assert (tmp_path / "run" / "config.yaml").read_text() == to_yaml(run)


def test_what_is_not_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such run folder"):
        open_run(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"is not a run folder: it holds neither config.yaml nor model/"):
        open_run(tmp_path)
    (tmp_path / "config.yaml").write_text(to_yaml(toy_run()))
    with pytest.raises(UserError, match=r"has no model yet.*patchword train .*config.yaml --out .* --resume"):
        open_run(tmp_path)


def test_a_run_of_another_task_is_refused(done: Path) -> None:
    with pytest.raises(UserError, match="is a run of task 'captioning'; this needs one of task 'translation'"):
        open_run(done, task="translation")


def test_damaged_weights_are_refused(done: Path, tmp_path: Path) -> None:
    shutil.copytree(done, tmp_path / "run")
    path = tmp_path / "run" / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(UserError, match=r"model: model.safetensors is damaged \(its checksum does not hold\)"):
        open_run(tmp_path / "run")


def test_a_format_of_the_future_is_refused(done: Path, tmp_path: Path) -> None:
    from patchword.training.files import write_checksums

    shutil.copytree(done, tmp_path / "run")
    path = tmp_path / "run" / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    write_checksums(path.parent)
    with pytest.raises(UserError, match=r"format 2 is not known here \(known: 1\)"):
        open_run(tmp_path / "run")


def test_what_the_task_learnt_is_there_from_the_start(tmp_path: Path) -> None:
    run = toy_run()
    task, seen = ToyTask(run), []
    task.on_loss = lambda count: seen.append(prepared_task(tmp_path / "run"))
    toy_train(run, tmp_path / "run", task=task)
    assert set(seen) == {tmp_path / "run" / "task"}
    ToyTask.load(run, seen[0])
    assert prepared_task(tmp_path) is None


# ------------------------------------------------------------------ starting and resuming


def test_a_folder_with_something_in_it_is_refused(done: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not empty: name another folder with --out, or resume .*--resume"):
        toy_train(toy_run(), done)
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match="is not empty"):
        toy_train(toy_run(), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]
    with pytest.raises(UserError, match=r"letter.txt is a file"):
        toy_train(toy_run(), tmp_path / "letter.txt")
    with pytest.raises(UserError, match="cannot make the run folder"):
        toy_train(toy_run(), tmp_path / "letter.txt" / "run")


def test_there_is_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run to resume"):
        toy_train(toy_run(), tmp_path / "run", resume=True)
    assert not (tmp_path / "run").exists()


def test_one_at_a_time(tmp_path: Path) -> None:
    run = toy_run()
    task = ToyTask(run)
    said = []

    def again(count: int) -> None:
        if count == 1:
            with pytest.raises(UserError, match="is in use") as raised:
                toy_train(run, tmp_path / "run", resume=True)
            said.append(raised)

    task.on_loss = again
    toy_train(run, tmp_path / "run", task=task)
    assert len(said) == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"train__optimizer__lr": 0.5}, ["train.optimizer.lr: 0.02 there, 0.5 here"]),
        ({"train__seed": 4, "data__batch__size": 9}, ["train.seed: 0 there, 4 here", "data.batch.size: 4 there, 9"]),
        ({"train__schedule": {"kind": "linear"}}, ["schedule.kind: 'constant' there", "schedule.final: nothing there"]),
        ({"train__optimizer__rates": {"body.*": 0.1}}, ["train.optimizer.rates"]),
        ({"model__trunk__residual__dropout": 0.77}, ["model.trunk.residual.dropout: ", " there, 0.77 here"]),
    ],
)
def test_other_settings_are_refused(done: Path, change: dict, said: list[str]) -> None:
    run = toy_run(**change)
    with pytest.raises(UserError, match="begun with other settings") as raised, claim_run(done, run, True):
        pass
    assert [text for text in said if text not in str(raised.value)] == []


def test_what_does_not_change_the_result_may_change(done: Path, tmp_path: Path) -> None:
    shutil.copytree(done, tmp_path / "run")
    changes = {"train__steps": 13, "train__keep": 1, "train__log_every": 1, "train__patience": 9, "name": "other"}
    run = toy_run(**changes, data__source="elsewhere", data__workers=1, train__threads=2, train__minutes=9.0)
    assert toy_train(run, tmp_path / "run", resume=True).steps == 13
    assert open_run(tmp_path / "run").folder.is_dir()
    assert (tmp_path / "run" / "config.yaml").read_text() == to_yaml(run)
    assert len(json.loads((tmp_path / "run" / "environment.json").read_text())) == 2
