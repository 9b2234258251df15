"""2N steps are N steps, an interruption, and N steps more: bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import toys
from toys import ToyTask, final_bytes, read_lines, toy_run, toy_train

BASE = {"train__ema": 0.9, "train__save_every": 2}


def interrupt_at(loss: int, number: int = signal.SIGINT) -> Callable[[int], None]:
    return lambda count: signal.raise_signal(number) if count == loss else None


def assert_same(folder: Path, whole: Path) -> None:
    assert read_lines(folder) == read_lines(whole)
    a, b = final_bytes(folder), final_bytes(whole)
    assert a.keys() == b.keys()
    configured = {"model/config.json", "model/checksums.json"}  # they know the number of workers
    assert [name for name in a if a[name] != b[name] and name not in configured] == []


def final_weights(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in final_bytes(folder).items() if name.endswith("safetensors")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, ToyTask]]:
    """An uninterrupted training, once for each configuration."""
    done: dict[str, tuple[Path, ToyTask]] = {}

    def get(**changes) -> tuple[Path, ToyTask]:
        key = json.dumps(changes, sort_keys=True)
        if key not in done:
            run = toy_run(**changes)
            task, folder = ToyTask(run), tmp_path_factory.mktemp("whole") / "run"
            result = toy_train(run, folder, task=task)
            assert (result.steps, result.stopped) == (run.train.steps, None)
            done[key] = folder, task
        return done[key]

    return get


# 37 examples, 4 a batch: an epoch has 10 batches, so that these cuts lie inside, at the end of, and after an epoch
@pytest.mark.parametrize(
    ("cut", "changes"),
    [
        (1, {}),
        (5, {}),
        (10, {}),
        (11, {}),
        (12, {}),
        (5, {"data__workers": 2}),
        (10, {"train__accumulate": 3}),
        (8, {"train__accumulate": 3, "data__workers": 2, "data__batch__max_tokens": 24}),
        (5, {"train__precision": "bf16"}),
        (
            5,
            {
                "train__clip": None,
                "train__optimizer__rates": {"body.*": 0.3},
                "train__optimizer__freeze": ["head.bias"],
            },
        ),
        (7, {"train__schedule": {"kind": "cosine", "warmup": 3, "final": 0.1}, "data__batch__bucket": 0}),
    ],
)
def test_interrupted_and_resumed_is_uninterrupted(whole, tmp_path: Path, cut: int, changes: dict) -> None:
    expected, expected_task = whole(**(BASE | changes))
    run = toy_run(**(BASE | changes))
    first, second = ToyTask(run), ToyTask(run)
    first.on_loss = interrupt_at(cut)
    result = toy_train(run, tmp_path / "run", task=first)
    step = -(-cut // run.train.accumulate)  # the step that the signal came in is finished
    assert (result.stopped, result.steps) == ("SIGINT", step)
    # whatever happened to random numbers and weights between does not matter
    torch.rand(7)
    result = toy_train(run, tmp_path / "run", resume=True, task=second, seed=99)
    assert (result.stopped, result.steps) == (None, 12)
    assert first.seen + second.seen == expected_task.seen
    assert_same(tmp_path / "run", expected)


def test_workers_change_nothing(whole) -> None:
    assert_same(whole(**BASE, data__workers=2)[0], whole(**BASE)[0])


def test_many_interruptions(whole, tmp_path: Path) -> None:
    run, resume, seen = toy_run(**BASE), False, []
    for _ in range(20):
        task = ToyTask(run)
        task.on_loss = interrupt_at(1, signal.SIGTERM)
        result = toy_train(run, tmp_path / "run", resume=resume, task=task)
        resume, seen = True, seen + task.seen
        if result.stopped is None:
            break
        assert result.stopped == "SIGTERM"
    expected, expected_task = whole(**BASE)
    assert seen == expected_task.seen
    assert_same(tmp_path / "run", expected)


def test_a_signal_during_the_evaluation_leaves_it_and_resuming_repeats_it(whole, tmp_path: Path) -> None:
    run = toy_run(**BASE)
    task = ToyTask(run)
    reached = []

    def interrupt(count: int) -> None:
        if count == 2:
            signal.raise_signal(signal.SIGTERM)
            reached.append(count)

    task.on_evaluate = interrupt
    result = toy_train(run, tmp_path / "run", task=task)
    assert (result.stopped, result.steps, reached) == ("SIGTERM", 8, [])
    assert [line["step"] for line in read_lines(tmp_path / "run", "eval")] == [4]
    toy_train(run, tmp_path / "run", resume=True)
    assert_same(tmp_path / "run", whole(**BASE)[0])


def test_a_signal_during_the_last_evaluation(whole, tmp_path: Path) -> None:
    run = toy_run(**BASE)
    task = ToyTask(run)
    task.on_evaluate = interrupt_at(3)
    assert toy_train(run, tmp_path / "run", task=task).stopped == "SIGINT"
    assert toy_train(run, tmp_path / "run", resume=True).stopped is None
    assert_same(tmp_path / "run", whole(**BASE)[0])


@pytest.mark.parametrize(
    ("loss", "save", "workers", "safe"),
    [(8, 0, 2, 6), (0, 2, 0, 2)],  # in step 8; in the middle of the second checkpoint
)
def test_killed_at_any_moment(whole, tmp_path: Path, loss: int, save: int, workers: int, safe: int) -> None:
    changes = BASE | {"data__workers": workers}
    arguments = [str(tmp_path / "run"), json.dumps(changes), str(loss), str(save)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([".", *sys.path])}
    command = [sys.executable, toys.__file__, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    there = sorted(p.name for p in (tmp_path / "run" / "checkpoints").glob("step-*"))
    assert there[-1] == f"step-{safe:08d}"
    task = ToyTask(toy_run(**changes))
    toy_train(toy_run(**changes), tmp_path / "run", resume=True, task=task)
    assert task.seen == whole(**BASE)[1].seen[safe:]
    assert_same(tmp_path / "run", whole(**BASE)[0])
    assert not list((tmp_path / "run").rglob(".tmp-*"))


def test_killed_with_checkpoints_by_time_alone(whole, tmp_path: Path) -> None:
    by_time = BASE | {"train__save_every": None, "train__eval_every": None, "train__save_minutes": 1e-9}
    arguments = [str(tmp_path / "run"), json.dumps(by_time), "8", "0"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([".", *sys.path])}
    done = subprocess.run([sys.executable, toys.__file__, *arguments], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert sorted(p.name[-1] for p in (tmp_path / "run/checkpoints").iterdir()) == ["6", "7"]
    task = ToyTask(toy_run(**by_time))
    toy_train(toy_run(**by_time), tmp_path / "run", resume=True, task=task)
    same = BASE | {"train__eval_every": None}
    assert task.seen == whole(**same)[1].seen[7:]
    assert final_weights(tmp_path / "run") == final_weights(whole(**same)[0])
    assert read_lines(tmp_path / "run") == read_lines(whole(**same)[0])


def test_killed_before_the_first_checkpoint(whole, tmp_path: Path) -> None:
    run = toy_run(**BASE)
    task = ToyTask(run)

    def fail(count: int) -> None:
        raise KeyboardInterrupt

    task.on_loss = fail
    with pytest.raises(KeyboardInterrupt):
        toy_train(run, tmp_path / "run", task=task)
    assert not list((tmp_path / "run" / "checkpoints").iterdir())
    toy_train(run, tmp_path / "run", resume=True)
    assert_same(tmp_path / "run", whole(**BASE)[0])


def test_a_finished_run_has_nothing_to_do(whole, tmp_path: Path) -> None:
    run = toy_run(**BASE)
    toy_train(run, tmp_path / "run")
    before = final_bytes(tmp_path / "run")
    task = ToyTask(run)
    result = toy_train(run, tmp_path / "run", resume=True, task=task)
    assert (result.steps, task.losses, task.evaluations) == (12, 0, 0)
    assert final_bytes(tmp_path / "run") == before


def test_more_steps_go_on_from_there(whole, tmp_path: Path) -> None:
    toy_train(toy_run(**BASE, train__steps=8), tmp_path / "run")
    result = toy_train(toy_run(**BASE, train__log_every=3, train__keep=1), tmp_path / "run", resume=True)
    assert result.steps == 12
    assert_same(tmp_path / "run", whole(**BASE)[0])


def test_the_pieces_of_a_log_line_are_kept(whole, tmp_path: Path) -> None:
    """A line of metrics is a mean over steps of two sessions."""
    run = toy_run(**BASE)
    task = ToyTask(run)
    task.on_loss = interrupt_at(4)  # lines come at steps 3, 6, ...
    toy_train(run, tmp_path / "run", task=task)
    toy_train(run, tmp_path / "run", resume=True)
    lines = read_lines(tmp_path / "run", "train")
    assert [line["step"] for line in lines] == [3, 6, 9, 12]
    assert len({line["loss"] for line in lines}) == 4
    assert lines == read_lines(whole(**BASE)[0], "train")
