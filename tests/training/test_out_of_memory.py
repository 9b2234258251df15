"""Memory that runs out in a step: one message that says what was needed, and a folder that can be resumed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from patchword.config import RunConfig, RunError
from patchword.models.create import planned_model
from patchword.models.presets import load_config
from patchword.sizing.planning.fit import parse_bytes
from patchword.training import out_of_memory
from patchword.training.learner import Learner
from patchword.training.out_of_memory import account, ran_out
from patchword.training.rehearsed import RehearsedStep
from tests.training.toys import ToyTask, final_bytes, toy_run, toy_train

CPU = "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate"


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (RuntimeError(CPU), True),
        (RuntimeError("std::bad_alloc"), True),
        (MemoryError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("can't allocate memory"), False),
    ],
)
def test_which_errors_are_memory(error: Exception, is_one: bool) -> None:
    assert ran_out(error) is is_one


def test_a_real_refusal_is_one() -> None:
    with pytest.raises(RuntimeError) as found:
        torch.empty(2**60, dtype=torch.uint8)
    assert ran_out(found.value)


@pytest.mark.parametrize("error", [RuntimeError(CPU), MemoryError(), torch.OutOfMemoryError("CUDA out of memory.")])
def test_a_run_that_runs_out_says_so_and_is_resumed(tmp_path: Path, error: Exception) -> None:
    run = toy_run(train__steps=6, train__save_every=2)
    whole = toy_train(run, tmp_path / "whole")
    assert whole.steps == 6

    def fail(count: int) -> None:
        if count == 5:
            raise error

    task = ToyTask(run)
    task.on_loss = fail
    with pytest.raises(RunError, match="memory ran out at step 5") as found:
        toy_train(run, tmp_path / "run", task=task)
    message = str(found.value)
    assert found.value.code == 1
    assert "step-00000004 is safe" in message
    assert "--resume" in message
    assert "optimizer" in message
    toy_train(run, tmp_path / "run", resume=True)
    assert final_bytes(tmp_path / "run") == final_bytes(tmp_path / "whole")


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    run = toy_run(train__steps=6)
    task = ToyTask(run)

    def fail(count: int) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    task.on_loss = fail
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        toy_train(run, tmp_path / "run", task=task)


SMALL = {
    "model.image.dim": 32,
    "model.image.depth": 1,
    "model.text.dim": 32,
    "model.trunk.dim": 32,
    "model.trunk.depth": 1,
    "model.text.vocab_size": 100,
    "data.batch.size": 64,
}


def learner_of(run: RunConfig, steps: int = 0) -> Learner:
    """After real steps on two samples, the last one broken half way."""
    step = RehearsedStep(run, planned_model(run).build().train(), 2)
    for _ in range(steps):
        step.gradient()
        step.update()
    step.gradient()
    return step.learner


def test_parts_and_a_batch_that_fits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The named batch fits into what there is, by the same prediction, and the next one does not."""
    run = load_config("captioner-tiny", SMALL)
    learner = learner_of(run, steps=1)
    room = 12 * 2**20
    monkeypatch.setattr(out_of_memory, "free_bytes", lambda device: room)
    text = account(run, learner, tmp_path / "config.yaml")
    weights = sum(p.numel() * 4 for p in learner.model.parameters())
    there = (
        room
        + 3 * weights
        + 4 * len(list(learner.model.parameters()))
        + sum(b.numel() * b.element_size() for b in learner.model.buffers())
    )
    found = re.search(r"^data.batch.size=(\d+) fits; .* train.accumulate=(\d+)\.", text, re.MULTILINE)
    assert found is not None, text
    fits, again = int(found[1]), int(found[2])
    peaks = [max(out_of_memory._needed(run, batch)[1].values()) for batch in (fits, fits + 1)]
    assert peaks[0] <= there < peaks[1]
    assert (again - 1) * fits < 64 <= again * fits
    assert all(p.grad is None for p in learner.model.parameters())
    row = re.search(r"^  parameters +(\S+ \S+) +(\S+ \S+)$", text, re.MULTILINE)
    assert row is not None
    assert row[1] == row[2]
    command = re.search(r"^See: patchword size \S+config.yaml --fit (\S+)$", text, re.MULTILINE)
    assert command is not None
    assert 0 <= there - parse_bytes(command[1]) < 2**20


def test_when_nothing_fits_and_when_all_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run = load_config("captioner-tiny", SMALL | {"data.batch.size": 2})
    learner = learner_of(run)
    monkeypatch.setattr(out_of_memory, "free_bytes", lambda device: 0)
    assert "Not even one sample fits." in account(run, learner, tmp_path)
    monkeypatch.setattr(out_of_memory, "free_bytes", lambda device: 2**40)
    assert "something else takes memory" in account(run, learner, tmp_path)
    monkeypatch.setattr(out_of_memory, "free_bytes", lambda device: None)
    assert "fits" not in account(run, learner, tmp_path)


def test_free_memory_is_known_on_linux() -> None:
    if not Path("/proc/meminfo").is_file():
        pytest.skip("no /proc/meminfo")
    room = out_of_memory.free_bytes("cpu")
    assert room is not None
    assert 0 < room < 2**50
