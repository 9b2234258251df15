from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import time
from collections.abc import Sequence
from itertools import islice

import numpy as np
import pytest
import torch

from patchword.config import BatchConfig
from patchword.data.batch import BadSample, Batch
from patchword.data.loader import Loader, Position, WorkerDiedError
from patchword.data.sampler import BatchSampler
from patchword.sequence import TextInput


class Examples:
    """Example i of epoch e is a row of random numbers of (e, i); says which process made it."""

    def __init__(self, count: int = 23, slow: float = 0.0) -> None:
        self.lengths = np.random.default_rng(1).integers(1, 9, count)
        self.slow = slow

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, key: tuple[int, int]) -> tuple[tuple[int, int], torch.Tensor] | BadSample:
        time.sleep(self.slow)
        epoch, index = key
        if index == 7:
            return BadSample(f"{key}", "missing", "no such file")
        row = np.random.default_rng([epoch, index]).integers(1, 99, self.lengths[index])
        return (epoch, index), torch.from_numpy(row)

    def collate(self, examples: Sequence[tuple[tuple[int, int], torch.Tensor] | BadSample]) -> Batch:
        good = [e for e in examples if not isinstance(e, BadSample)]
        bad = tuple(e for e in examples if isinstance(e, BadSample))
        ids = torch.nn.utils.rnn.pad_sequence([row for _, row in good], batch_first=True)
        pid = torch.full((len(good),), os.getpid())
        return Batch({"text": TextInput(ids, ids > 0)}, {"pid": pid}, tuple(f"{key}" for key, _ in good), bad)


def sampler(examples: Examples) -> BatchSampler:
    return BatchSampler(examples.lengths, BatchConfig(size=4, bucket=2), seed=11)


def make(workers: int = 0, position: Position = Position(), slow: float = 0.0) -> Loader:  # noqa: B008
    examples = Examples(slow=slow)
    return Loader(examples, sampler(examples), workers, position=position)


def content(batch: Batch) -> tuple[object, ...]:
    text = batch.inputs["text"]
    assert isinstance(text, TextInput)
    return batch.ids, batch.bad, text.ids.tolist()


COUNT = 15  # batches: two epochs and a half, of 6 each


@pytest.fixture(scope="module")
def expected() -> list[tuple[object, ...]]:
    return [content(batch) for batch in islice(make(), COUNT)]


def test_epochs_follow_one_another_as_the_sampler_says(expected) -> None:
    plan = [(epoch, batch) for epoch in range(3) for batch in sampler(Examples()).epoch(epoch)]
    for (epoch, batch), (ids, bad, _) in zip(plan, expected, strict=False):
        assert list(ids) == [f"{(epoch, i)}" for i in batch if i != 7]
        assert [b.id for b in bad] == [f"{(epoch, i)}" for i in batch if i == 7]


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_neither_order_nor_content(expected, workers: int) -> None:
    loader = make(workers)
    batches = list(islice(loader, COUNT))
    assert [content(batch) for batch in batches] == expected
    pids = {int(p) for batch in batches for p in batch.targets["pid"]}
    assert len(pids) == workers
    assert os.getpid() not in pids
    loader.close()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("used", [0, 1, 5, 6, 7, 12])
def test_resumes_at_any_position(expected, workers: int, used: int) -> None:
    first = make(workers)
    for _ in range(used):
        next(first)
    assert first.position == Position(*divmod(used, 6))  # however much was prepared ahead
    first.close()
    second = make(workers, first.position)
    assert [content(batch) for batch in islice(second, COUNT - used)] == expected[used:]
    second.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_global_random_numbers_do_not_move(workers: int) -> None:
    state = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    loader = make(workers)
    list(islice(loader, 8))
    loader.close()
    assert torch.equal(torch.get_rng_state(), state[0])
    assert random.getstate() == state[1]
    assert np.random.get_state()[1].tolist() == state[2]


def test_a_worker_that_dies_is_told_of() -> None:
    loader = make(workers=2, slow=0.2)
    pid = int(next(loader).targets["pid"][0])

    position = loader.position
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)  # nothing is raised here, in the middle of whatever is going on

    def read() -> None:
        nonlocal position
        for _ in range(20):
            next(loader)
            position = loader.position

    with pytest.raises(WorkerDiedError, match=f"pid.*{pid}"):
        read()
    assert loader.position == position
    loader.close()


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_of_the_examples_are_passed_on(workers: int) -> None:
    class Broken(Examples):
        def __getitem__(self, key):
            raise FileNotFoundError("a.jpg is not there")

    loader = Loader(Broken(), sampler(Broken()), workers)
    with pytest.raises(FileNotFoundError, match=r"a\.jpg is not there"):
        next(loader)
    loader.close()


def test_signals_to_the_group_do_not_end_workers(expected) -> None:
    loader = make(workers=2, slow=0.02)
    got = [content(next(loader))]
    for process in multiprocessing.active_children():
        for name in ("INT", "TERM"):
            subprocess.run(["kill", f"-{name}", str(process.pid)], check=True)
    got += [content(batch) for batch in islice(loader, COUNT - 1)]
    assert got == expected
    loader.close()


def test_the_training_process_ends_them_though() -> None:
    """As multiprocessing does at exit with whatever is left: a worker that does not obey would make it wait forever."""
    loader = make(workers=2)
    next(loader)
    for process in multiprocessing.active_children():
        process.terminate()
        process.join(timeout=10)
        assert process.exitcode == 0
    loader.close()


def test_closing_ends_the_workers() -> None:
    before = set(multiprocessing.active_children())
    loader = make(workers=2)
    next(loader)
    assert len(set(multiprocessing.active_children()) - before) == 2
    loader.close()
    assert set(multiprocessing.active_children()) == before
    with pytest.raises(ValueError, match="closed"):
        next(loader)
