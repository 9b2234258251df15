"""Two processes that share a split say of it what one does: metrics are of the whole, on every rank."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from shrunk import shrunk
from torch.multiprocessing.spawn import spawn

from patchword.config import RunConfig
from patchword.data.sources import open_source
from patchword.tasks.base import Evaluation, Task
from patchword.tasks.gathered import of_all_ranks, own_share

KINDS = (
    "captioner-tiny",
    "coca-small",
    "clip-tiny",
    "classifier-tiny",
    "matcher-tiny",
    "vqa-tiny",
    "vlm-small",
    "translator-tiny",
    "gpt-tiny",
    "masked-image-tiny",
    "bert-small",
)
"""A preset of every task."""
LIMITS = (5, 1, None)  # with one sample, one of two ranks has nothing to do


def evaluated(name: str, limit: int | None) -> Evaluation:
    run: RunConfig = shrunk(name)
    source = open_source(run.data, run.task.fields)
    task: Task = type(run.task).implementation.prepare(run, source)
    torch.manual_seed(0)
    model = task.model_config().build().eval()
    with torch.no_grad():
        return task.evaluate(model, source, "val", limit, "cpu")


def _rank(rank: int, where: str, out: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{where}", rank=rank, world_size=2)
    found = {(name, limit): evaluated(name, limit) for name in KINDS for limit in LIMITS[: 1 + 2 * (name in KINDS[:4])]}
    Path(f"{out}.{rank}").write_bytes(pickle.dumps((found, own_share(5), of_all_ranks([rank] * rank))))
    dist.destroy_process_group()


def test_shares_are_whole_and_apart() -> None:
    assert own_share(3) == range(3)
    assert of_all_ranks("ab") == ["a", "b"]


def test_two_ranks_say_what_one_process_says(tmp_path: Path) -> None:
    spawn(_rank, (str(tmp_path / "meet"), str(tmp_path / "out")), nprocs=2)
    first, second = (pickle.loads((tmp_path / f"out.{rank}").read_bytes()) for rank in range(2))
    assert first[1:] == (range(2), [1])
    assert second[1:] == (range(2, 5), [1])
    for (name, limit), found in first[0].items():
        alone = evaluated(name, limit)
        for theirs in (found, second[0][name, limit]):
            assert theirs.metrics == pytest.approx(alone.metrics, rel=1e-5, abs=1e-7), name
            assert [p._replace(score=None, choices=()) for p in theirs.predictions] == [
                p._replace(score=None, choices=()) for p in alone.predictions
            ], name
            assert (theirs.count, theirs.bad) == (alone.count, alone.bad), name
            if alone.confusion is not None and theirs.confusion is not None:
                assert (theirs.confusion.counts == alone.confusion.counts).all(), name
