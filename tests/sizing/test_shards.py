"""Sharded steps on one process: closed forms, storages that change size, and real ranks over gloo."""

from __future__ import annotations

import json
import subprocess
import sys
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from patchword.config import UserError
from patchword.sizing.planning.shards import sharded_step
from patchword.sizing.tracing.record import Block, Record
from patchword.sizing.tracing.trace import Tracer

ROOT = Path(__file__).resolve().parents[2]


class Layer(nn.Module):
    """A map that keeps its width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.map = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, D] -> [B, D]"""
        return torch.tanh(self.map(x))


def step(ranks: int, width: int = 64, depth: int = 3, batch: int = 5, gloo: bool = False) -> tuple[nn.Module, Record]:
    return sharded_step(
        lambda: nn.Sequential(*(Layer(width) for _ in range(depth)), nn.Linear(width, 2)),
        lambda model: model(torch.zeros(batch, width)).sum(),
        lambda model: torch.optim.AdamW(model.parameters()),
        ranks,
        Layer,
        gloo=gloo,
    )


def by_category(record: Record, place: int = 0) -> dict[str, int]:
    found: dict[str, int] = {}
    for block in record.there(place):
        found[record.category(block)] = found.get(record.category(block), 0) + block.size
    return found


def shard_bytes(shapes: list[tuple[int, ...]], ranks: int) -> int:
    """Rank 0's part of fp32 tensors that are cut along their first dimension."""
    return sum(4 * -(-shape[0] // ranks) * prod(shape[1:]) for shape in shapes)


SHAPES: list[tuple[int, ...]] = [(64, 64), (64,)] * 3 + [(2, 64), (2,)]


@pytest.mark.parametrize("ranks", [2, 3, 8, 64])
def test_a_rank_keeps_its_part_of_weights_and_state(ranks: int) -> None:
    """AdamW keeps two numbers a weight and one count a tensor; rows of 64 into 3 ranks are not whole parts."""
    there = by_category(step(ranks)[1])
    part = shard_bytes(SHAPES, ranks)
    assert there["parameters"] == part
    assert there["optimizer"] == 2 * part + 4 * len(SHAPES)


def test_gradients_are_sharded_too() -> None:
    _, record = step(2)
    last = next(i for i, op in enumerate(record.ops) if op.phase == "optimizer")
    assert by_category(record, last)["gradients"] == shard_bytes(SHAPES, 2)


def test_more_ranks_hold_less() -> None:
    peaks = [step(ranks, width=128, depth=4)[1].peak()[0] for ranks in (2, 4, 8)]
    assert peaks == sorted(peaks, reverse=True)
    assert peaks[0] > peaks[2] * 1.2


def test_blocks_are_gathered_whole_and_let_go() -> None:
    """While a layer computes its weights are whole; while the optimizer works only parts are there."""
    _, record = step(4)
    live = record.live()
    products = [i for i, op in enumerate(record.ops) if op.name in ("aten.addmm", "aten.mm")]
    parts = by_category(record)["parameters"] + by_category(record)["optimizer"]
    layer = 4 * (64 * 64 + 64)
    assert all(live[place] >= parts + layer for place in products[:3])
    assert live[-1] < parts + 2 * shard_bytes(SHAPES, 4)


def test_no_whole_tensor_is_made_while_the_optimizer_works() -> None:
    """Distributed tensors try their results' layout on whole ones without contents: those are not there."""
    _, record = step(8)
    part = max(shard_bytes([shape], 8) for shape in SHAPES)
    made = [block for block in record.blocks if block.born >= 0 and record.ops[block.born].phase == "optimizer"]
    assert max((block.size for block in made if block.category != "workspaces"), default=0) <= part
    assert record.live()[-1] <= record.live()[0] + 2 * sum(shard_bytes([shape], 8) for shape in SHAPES)


def test_gloo_copies_what_it_gathers_and_scatters_and_nothing_else_does() -> None:
    (_, plain), (_, gloo) = step(2), step(2, gloo=True)

    def copies(record: Record) -> list[Block]:
        inside = [block for block in record.blocks if block.category == "workspaces"]
        return [block for block in inside if record.ops[block.born].name.startswith("c10d.")]

    assert not copies(plain)
    assert {block.died - block.born for block in copies(gloo) if block.died is not None} == {1}
    layer, head = 4 * (64 * 64 + 64), 4 * (2 * 64 + 2)
    assert sorted({block.size for block in copies(gloo)}) == [head, layer]
    assert plain.peak()[0] <= gloo.peak()[0]


def test_what_cannot_be_sharded_is_said() -> None:
    with pytest.raises(UserError, match="at least 2 ranks, got 1"):
        step(1)
    assert not dist.is_initialized()


def test_the_made_up_group_is_gone_afterwards() -> None:
    step(2)
    assert not dist.is_initialized()

    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        sharded_step(lambda: nn.Sequential(nn.Linear(2, 2), Broken()), lambda m: m(torch.zeros(1, 2)).sum(),
                     lambda m: torch.optim.SGD(m.parameters()), 2, nn.Linear)  # fmt: skip
    assert not dist.is_initialized()
    assert torch.UntypedStorage.resize_.__name__ == "resize_"


def test_storages_that_change_size_are_seen() -> None:
    """Emptied, a storage holds nothing; filled again, it holds what it did; other tensors are not touched."""
    tracer = Tracer(nn.Identity())
    with tracer:
        a = torch.zeros(1000)
        a.untyped_storage().resize_(0)
        b = torch.zeros(10)
        a.untyped_storage().resize_(4000)
        b.add_(1)
        b.resize_(20)
        del a
        b.mul_(1)
    tracer.close()
    blocks = [block for block in tracer.record.blocks if block.category != "workspaces"]
    record = Record(tracer.record.ops, blocks)
    live = dict(zip([op.name for op in record.ops], record.live(), strict=True))
    assert live["aten.add_"] == 4000 + 40
    assert live["aten.resize_"] == 4000 + 80
    assert live["aten.mul_"] == 80
    assert record.live()[:2] == [4000, 40]


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"train.checkpoint_blocks": True}], ids=["plain", "checkpointed"])
def test_two_real_ranks_hold_what_was_predicted(settings: dict[str, Any]) -> None:
    cell = json.dumps(["captioner-tiny", 2, 4, settings])
    command = [sys.executable, "-m", "benchmarks.sizing.fsdp", "--one", cell]
    out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=600).stdout
    found = json.loads(out.strip().splitlines()[-1])
    for truth in found["least"]:
        assert abs(found["predicted"] - truth) <= 1e-3 * truth
