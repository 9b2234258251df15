"""How a training ends, what it leaves, and what it says."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from toys import ToySource, ToyTask, final_bytes, read_lines, toy_model, toy_run, toy_train

from patchword.config import RunConfig, RunError, UserError
from patchword.training.display import Silent
from patchword.training.log import read_metrics
from patchword.training.run_folder import model_facts, open_run
from patchword.training.trainer import train
from patchword.training.weights import load_tensors


class Heard(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def say(self, text: str) -> None:
        self.texts.append(text)


def heard_train(run: RunConfig, folder: Path, task: ToyTask | None = None, resume: bool = False) -> list[str]:
    heard = Heard()
    train(run, task or ToyTask(run), toy_model(), ToySource(), folder, resume=resume, display=heard)
    return heard.texts


def test_it_learns(tmp_path: Path) -> None:
    run = toy_run(train__steps=150, train__eval_every=None)
    result = toy_train(run, tmp_path / "run", dropout=0.0)
    losses = [line["loss"] for line in read_lines(tmp_path / "run", "train")]
    assert losses[-1] < 0.8 * losses[0]
    assert result.metrics["loss"] < 0.8 * losses[0]


def test_the_folder(tmp_path: Path) -> None:
    run = toy_run(train__steps=9, train__ema=0.9, train__keep=2)
    toy_train(run, tmp_path / "run")
    files = {p.relative_to(tmp_path / "run").as_posix() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    checkpoint = {"state.json", "checksums.json"}
    checkpoint |= {f"{name}.safetensors" for name in ("model", "optimizer", "ema", "rng")}
    assert files == {
        ".lock",
        "config.yaml",
        "environment.json",
        "metrics.jsonl",
        *(f"task/{name}" for name in ("digits.json", "checksums.json")),
        *(f"model/{name}" for name in ("config.json", "model.safetensors", "digits.json", "checksums.json")),
        *(f"checkpoints/step-0000000{step}/{name}" for step in (8, 9) for name in checkpoint),
    }
    (session,) = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert session["packages"]["torch"] == torch.__version__


def test_lines_of_metrics(tmp_path: Path) -> None:
    run = toy_run(train__steps=10, train__log_every=5, train__eval_every=5)
    toy_train(run, tmp_path / "run")
    lines = list(read_metrics(tmp_path / "run" / "metrics.jsonl"))
    assert [(line["kind"], line["step"]) for line in lines] == [("train", 5), ("eval", 5), ("train", 10), ("eval", 10)]
    first = lines[0]
    assert first["epoch"] == 0
    assert lines[2]["epoch"] == 1
    assert first["lr"] == run.train.optimizer.lr
    assert first["grad_norm"] > 0
    assert 15 <= first["samples"] <= 20
    assert 0 <= first["data_wait"] <= 1
    assert 2 <= first["tokens_per_second"] / first["samples_per_second"] <= 8
    assert lines[0]["time"] < lines[2]["time"]
    assert lines[1]["metrics"].keys() == {"loss", "luck"}
    assert (lines[1]["count"], lines[1]["split"], lines[1]["best"]) == (9, "val", True)


@pytest.mark.parametrize("ema", [None, 0.9])
def test_evaluating_changes_nothing(tmp_path: Path, ema: float | None) -> None:
    often, never = toy_run(train__eval_every=1, train__ema=ema), toy_run(train__eval_every=None, train__ema=ema)
    toy_train(often, tmp_path / "often")
    toy_train(never, tmp_path / "never")
    a, b = final_bytes(tmp_path / "often"), final_bytes(tmp_path / "never")
    assert [name for name in a if name.endswith("safetensors") and "/" not in name and a[name] != b[name]] == []
    assert read_lines(tmp_path / "often", "train") == read_lines(tmp_path / "never", "train")
    luck = {line["metrics"]["luck"] for line in read_lines(tmp_path / "often", "eval")}
    assert len(luck) == 1  # evaluations draw the same numbers whenever they come


def test_global_random_numbers_before_it_do_not_matter(tmp_path: Path) -> None:
    for name in "ab":
        torch.rand(3)
        toy_train(toy_run(), tmp_path / name)
    assert final_bytes(tmp_path / "a") == final_bytes(tmp_path / "b")


class Scripted(ToyTask):
    """Evaluations give these scores."""

    scores = (0.1, 0.5, 0.5, 0.4, float("nan"), 0.3, 0.9)

    def evaluate(self, *args):
        found = super().evaluate(*args)
        score = self.scores[self.evaluations - 1] if self.evaluations else 0.0
        return found._replace(metrics=found.metrics | {"score": score})


def test_the_best_weights_are_the_model(tmp_path: Path) -> None:
    run = toy_run(train__steps=14, train__eval_every=2, train__best_metric="score", train__keep=99)
    result = toy_train(run, tmp_path / "run", task=Scripted(run))
    best = read_lines(tmp_path / "run", "eval")[1]
    assert (best["step"], best["best"], best["metrics"]["score"]) == (4, True, 0.5)
    assert result.metrics["score"] == 0.9  # the last of all was better
    short = run.replace(train=run.train.replace(steps=8))
    result = toy_train(short, tmp_path / "short", task=Scripted(short))
    assert result.metrics == best["metrics"]
    opened = open_run(tmp_path / "short")
    assert model_facts(opened.folder) == (4, best["metrics"])
    there = load_tensors(tmp_path / "short" / "checkpoints" / "step-00000004" / "model.safetensors")
    model = load_tensors(opened.weights)
    assert all(torch.equal(model[name], there[name]) for name in there)


def test_the_running_mean_is_the_model(tmp_path: Path) -> None:
    run = toy_run(train__steps=8, train__ema=0.9, train__eval_every=None)
    toy_train(run, tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "step-00000008"
    model, mean = load_tensors(open_run(tmp_path / "run").weights), load_tensors(last / "ema.safetensors")
    raw = load_tensors(last / "model.safetensors")
    assert not any(torch.equal(model[name], raw[name]) for name in model)
    tied = {"table.weight": "head.weight"}
    assert all(torch.equal(model[tied.get(name, name)], p) for name, p in mean.items())


def test_patience_counts_evaluations_without_a_better_value(tmp_path: Path) -> None:
    run = toy_run(train__steps=90, train__eval_every=2, train__patience=3, train__best_metric="score")
    result = toy_train(run, tmp_path / "run", task=Scripted(run))
    assert (result.stopped, result.steps, result.metrics["score"]) == ("patience", 10, 0.5)
    assert [line["best"] for line in read_lines(tmp_path / "run", "eval")] == [True, True, False, False, False]
    assert read_lines(tmp_path / "run", "eval")[-1]["metrics"]["score"] is None  # not a number
    result = toy_train(run, tmp_path / "run", resume=True, task=Scripted(run))
    assert (result.stopped, result.steps) == ("patience", 10)
    patient = run.replace(train=run.train.replace(patience=9, steps=12))
    assert toy_train(patient, tmp_path / "run", resume=True, task=Scripted(patient)).steps == 12


def test_a_metric_that_does_not_exist_is_refused_before_training(tmp_path: Path) -> None:
    run = toy_run(train__best_metric="lucky")
    task = ToyTask(run)
    with pytest.raises(UserError, match=r"best_metric: unknown metric 'lucky'; did you mean 'luck'\?.*loss, luck"):
        toy_train(run, tmp_path / "run", task=task)
    assert task.losses == 0
    toy_train(toy_run(), tmp_path / "run")  # the folder is still free


def test_the_time_is_up(tmp_path: Path) -> None:
    run = toy_run(train__steps=10**6, train__minutes=0.01, train__schedule={"kind": "linear", "warmup": 0})
    task = ToyTask(run)
    task.on_loss = lambda count: time.sleep(0.01)
    task.on_evaluate = lambda count: time.sleep(0.05)
    result = toy_train(run, tmp_path / "run", task=task)
    assert result.stopped == "minutes"
    assert result.steps < 60
    lines = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if line["kind"] == "train"]
    rates = [line["lr"] for line in lines]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.5 * rates[0]  # the schedule followed the clock
    assert toy_train(run, tmp_path / "run", resume=True).steps == result.steps  # the time is used up


def test_no_validation_split(tmp_path: Path) -> None:
    run = toy_run(train__eval_every=None, train__save_every=5)
    task = ToyTask(run)
    result = train(run, task, toy_model(), ToySource(val=0), tmp_path / "run", display=Silent())
    assert (result.steps, result.metrics, task.evaluations) == (12, {}, 0)
    assert model_facts(open_run(tmp_path / "run").folder) == (12, {})
    longer = toy_run(train__eval_every=None, train__save_every=5, train__steps=14)
    train(longer, task, toy_model(), ToySource(val=0), tmp_path / "run", resume=True, display=Silent())
    assert model_facts(open_run(tmp_path / "run").folder) == (14, {})


@pytest.mark.parametrize("name", ["eval_every", "patience"])
def test_an_evaluation_is_asked_for_and_cannot_be(tmp_path: Path, name: str) -> None:
    run = toy_run(**{"train__eval_every": None, f"train__{name}": 3})
    with pytest.raises(UserError, match=f"train.{name}: toys has no val.* split .splits: train."):
        train(run, ToyTask(run), toy_model(), ToySource(val=0), tmp_path / "run", display=Silent())


def test_no_training_split(tmp_path: Path) -> None:
    run = toy_run()
    with pytest.raises(UserError, match=r"toys: unknown split 'train'.*val"):
        train(run, ToyTask(run), toy_model(), ToySource(train=0), tmp_path / "run", display=Silent())


def test_a_loss_that_is_not_finite_stops_with_the_last_checkpoint(tmp_path: Path) -> None:
    run = toy_run()
    model, task = toy_model(), ToyTask(run)

    def spoil(count: int) -> None:
        if count == 7:
            with torch.no_grad():
                model.head.bias[0] = float("nan")

    task.on_loss = spoil
    with pytest.raises(RunError, match=r"not finite \(step 7\).*step-00000004 is safe") as raised:
        train(run, task, model, ToySource(), tmp_path / "run", display=Silent())
    assert raised.value.code == 1
    toy_train(run, tmp_path / "run", resume=True)
    toy_train(run, tmp_path / "plain")
    assert final_bytes(tmp_path / "run") == final_bytes(tmp_path / "plain")


def test_a_worker_that_dies_loses_no_step(tmp_path: Path) -> None:
    run = toy_run(data__workers=1, train__steps=50, train__eval_every=None)
    task = ToyTask(run)

    def kill(count: int) -> None:
        if count == 30:
            (process,) = multiprocessing.active_children()
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)

    task.on_loss = kill
    with pytest.raises(RunError, match=r"prepares batches died.*step-000000\d\d is safe.*patchword train .* --resume"):
        toy_train(run, tmp_path / "run", task=task)
    (saved,) = os.listdir(tmp_path / "run" / "checkpoints")
    assert 30 <= int(saved[-2:]) < 34  # what was prepared ahead was used
    toy_train(run, tmp_path / "run", resume=True)
    toy_train(run, tmp_path / "whole")
    assert final_bytes(tmp_path / "run") == final_bytes(tmp_path / "whole")


def test_what_is_said(tmp_path: Path) -> None:
    run = toy_run(train__steps=6, train__schedule={"kind": "cosine", "warmup": 6})
    task = ToyTask(run)
    task.on_loss = lambda count: signal.raise_signal(signal.SIGTERM) if count == 3 else None
    said = heard_train(run, tmp_path / "a run", task)
    assert "warning: train.schedule.warmup (6) is not shorter than train.steps (6)" in said[0]
    path = tmp_path / "a run"
    command = f"patchword train '{path}/config.yaml' --out '{path}' --resume"
    assert said[1] == f"stopped by SIGTERM, saved at step 3. Resume with: {command}"
    said = heard_train(run, path, resume=True)
    assert said[1] == f"resuming at step 3, from {path}/checkpoints/step-00000003"
    assert said[2] == f"done after 6 steps (steps); the model is in {path}/model"


@pytest.mark.parametrize(
    ("changes", "steps"),
    [({}, 30), ({"train__accumulate": 4}, 8), ({"data__batch__max_tokens": 24}, None)],
    ids=["whole batches", "gathered", "of so many tokens"],
)
def test_epochs_are_whole_passes(changes: dict, steps: int | None, tmp_path: Path) -> None:
    """Every example as often as there are epochs, and the schedule ends with them; resumed, they are as many."""
    task = ToyTask(run := toy_run(**changes, train__epochs=3, train__steps=1, train__schedule={"kind": "linear"}))
    result = toy_train(run, tmp_path / "run", task=task)
    assert steps is None or result.steps == steps
    seen = Counter(name.partition("@")[0] for names in task.seen for name in names)
    assert len(seen) == 37
    gathered = run.train.accumulate  # the last step goes on into the next epoch
    assert sum(seen.values()) == 37 * 3 if gathered == 1 else set(seen.values()) <= {3, 4}
    more = run.replace(train=run.train.replace(epochs=4))  # how long is no part of what was learnt
    assert toy_train(more, tmp_path / "run", resume=True).steps > result.steps


def test_an_interrupted_training_leaves_a_model(tmp_path: Path) -> None:
    run = toy_run(train__eval_every=None)
    task = ToyTask(run)
    task.on_loss = lambda count: signal.raise_signal(signal.SIGINT) if count == 3 else None
    assert toy_train(run, tmp_path / "run", task=task).metrics == {}
    assert model_facts(open_run(tmp_path / "run").folder) == (3, {})


def test_frozen_parameters_do_not_move(tmp_path: Path) -> None:
    run = toy_run(train__optimizer__freeze=["body.*"])
    model = toy_model()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(run, ToyTask(run), model, ToySource(), tmp_path / "run", display=Silent())
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"table.weight", "head.bias"}


def test_threads_are_given_back(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    run, seen = toy_run(train__threads=before + 1, train__steps=1), []
    task = ToyTask(run)
    task.on_loss = lambda count: seen.append(torch.get_num_threads())
    toy_train(run, tmp_path / "run", task=task)
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before
