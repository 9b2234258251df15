"""FSDP2: the memory of a rank as it is predicted on one process, against real ranks that talk over gloo.

    python -m benchmarks.sizing.fsdp [--cells N]     # measures all cells and writes docs/sizing/accuracy-fsdp.md
    python -m benchmarks.sizing.fsdp --one JSON      # one cell, its result as JSON on standard output

Truth: each rank runs real steps under torch's profiler, and its allocations are played back. Gloo's threads let go of
a buffer some time after the step has gone on, so that now and then a step holds one gathered block more; the least of
five steps is the one without leftovers, and the most of them stands beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from benchmarks.sizing.replay import peak_bytes
from patchword.config import RunConfig
from patchword.models.create import planned_model
from patchword.models.presets import load_config
from patchword.nn.block import Block
from patchword.sizing.planning.shards import shard, sharded_step
from patchword.tasks.captioning import CaptioningTask
from patchword.training.apply import applied_to_blocks
from patchword.training.optim import build_optimizer
from patchword.training.ready import make_ready

PAGE = Path(__file__).parents[2] / "docs" / "sizing" / "accuracy-fsdp.md"
STEPS = 5
VOCABULARY = {"model.text.vocab_size": 1000}


class Cell(NamedTuple):
    """One setting."""

    preset: str
    ranks: int
    batch: int
    """Samples of one rank."""
    settings: dict[str, Any]

    def run(self) -> RunConfig:
        return load_config(self.preset, VOCABULARY | self.settings)


class Result(NamedTuple):
    """Bytes."""

    predicted: int
    least: list[int]
    """By rank, of the steps' peaks."""
    most: list[int]

    def error(self) -> float:
        """Of the prediction against the rank that has most: where rows do not divide, the last ranks have less."""
        return self.predicted / max(self.least) - 1


CHECKPOINT = {"train.checkpoint_blocks": True}
CELLS = [
    Cell("captioner-tiny", ranks, batch, settings)
    for ranks in (2, 4)
    for batch in (2, 8)
    for settings in ({}, CHECKPOINT)
]
CELLS += [Cell("captioner-prefix-small", ranks, 2, s) for ranks in (2, 4) for s in ({}, CHECKPOINT)]
CELLS += [Cell("captioner-small", 2, 2, {})]
CELLS += [
    Cell("captioner-tiny", 3, 4, {}),
    Cell("captioner-tiny", 2, 4, {"train.optimizer.freeze": ["towers.image.*"]}),
]


def predict(cell: Cell) -> int:
    """What sizing says of one rank, with gloo's copies."""
    run = cell.run()
    with building(run) as build:
        _, record = sharded_step(
            build,
            lambda model: loss_of(run, model, cell.batch),
            lambda model: build_optimizer(model, run.train.optimizer),
            cell.ranks,
            Block,
            gloo=True,
        )
    return record.peak(without="libraries")[0]  # the profiler does not see those


@contextmanager
def building(run: RunConfig) -> Iterator[Callable[[], nn.Module]]:
    """How to build the run's model, with what is frozen and with its blocks as `train.checkpoint_blocks` says."""
    with ExitStack() as stack:

        def build() -> nn.Module:
            model = planned_model(run).build()
            make_ready(model, run.train)
            stack.enter_context(applied_to_blocks(model, run.train))
            return model

        yield build


def loss_of(run: RunConfig, model: nn.Module, batch: int) -> Tensor:
    return CaptioningTask.rehearse(run, model, CaptioningTask.full_batch(run, batch))


def measure(cell: Cell) -> tuple[list[int], list[int]]:
    """Least and most of the peaks of each rank's steps."""
    context = mp.get_context("spawn")
    results = context.Queue()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = [context.Process(target=_rank, args=(rank, cell, port, results)) for rank in range(cell.ranks)]
    for process in ranks:
        process.start()
    found = sorted(results.get(timeout=600) for _ in ranks)
    for process in ranks:
        process.join()
    return [least for _, least, _ in found], [most for _, _, most in found]


def _rank(rank: int, cell: Cell, port: int, results: Any) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=cell.ranks)
    run = cell.run()
    with building(run) as build:
        model = build().train()
        shard(model, Block, init_device_mesh("cpu", (cell.ranks,)))
        optimizer = build_optimizer(model, run.train.optimizer)

        def step() -> None:
            loss_of(run, model, cell.batch).backward()
            torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        step()
        step()
        there = _bytes([*model.parameters(), *model.buffers()])
        there += _bytes([value for state in optimizer.state.values() for value in state.values()])
        peaks = [there + peak_bytes(step) for _ in range(STEPS)]
        results.put((rank, min(peaks), max(peaks)))
        dist.barrier()
    dist.destroy_process_group()


def _bytes(tensors: list[Tensor]) -> int:
    local = [t.to_local() if isinstance(t, DTensor) else t for t in tensors]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in local}.values())


def write(results: dict[int, Result]) -> None:
    """The page."""
    lines = [
        "# FSDP2: predicted and measured",
        "",
        "Made by `python -m benchmarks.sizing.fsdp`. One training step (forward, backward, clipping, AdamW) in",
        f"fp32, each block a unit of `fully_shard`, torch {torch.__version__}, vocabulary of 1,000. Predicted:",
        "`patchword/sizing/planning/shards.py` on one process with a made-up group, gloo's copies counted. Measured:",
        f"real ranks over gloo, allocations played back from the profiler, the least of {STEPS} steps, of the rank",
        "that has most.",
        "**Leftover**: how much more the worst step of any rank held: gloo's threads still had a buffer that the",
        "step was done with. That is chance and not predicted.",
        "",
        "| preset | settings | ranks | batch of a rank | predicted, bytes | measured, bytes | error | leftover |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for index, found in results.items():
        cell = CELLS[index]
        settings = ", ".join(f"`{key}={value}`" for key, value in cell.settings.items()) or "-"
        truth = max(found.least)
        lines.append(
            f"| {cell.preset} | {settings} | {cell.ranks} | {cell.batch} | {found.predicted:,} | {truth:,} "
            f"| {found.error():+.4%} | {max(found.most) / truth - 1:.1%} |"
        )
    worst = max(abs(found.error()) for found in results.values())
    exact = sum(found.predicted == max(found.least) for found in results.values())
    lines += ["", f"{exact} of {len(results)} cells are equal to the byte; the worst error is {worst:.4%}.", ""]
    PAGE.write_text("\n".join(lines), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", help="preset, ranks, batch, settings as a JSON list")
    parser.add_argument("--cells", type=int, default=len(CELLS))
    given = parser.parse_args()
    if given.one:
        cell = Cell(*json.loads(given.one))
        print(json.dumps(Result(predict(cell), *measure(cell))._asdict()))
        return
    results: dict[int, Result] = {}
    for index, cell in enumerate(CELLS[: given.cells]):
        results[index] = Result(predict(cell), *measure(cell))
        print(cell, results[index], f"{results[index].error():+.4%}", file=sys.stderr, flush=True)
        write(results)


if __name__ == "__main__":
    main()
