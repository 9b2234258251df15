"""Many ranks on paper: closed forms, exact divisions, one rank, and what a sharded step really holds."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from math import isclose, prod

import pytest
import torch
from torch import Tensor, nn

from patchword.config import UserError
from patchword.sizing.planning.devices import device
from patchword.sizing.planning.scale import (
    DDP,
    STRATEGIES,
    ZERO1,
    ZERO2,
    ZERO3,
    Interval,
    Share,
    Step,
    Weights,
    collectives,
    cut,
    every,
    fewest_ranks,
    ranks_of,
    share,
    step_of,
    talk,
    weights_of,
)
from patchword.sizing.planning.shards import sharded_step
from patchword.sizing.tracing.record import Record
from patchword.sizing.tracing.rehearsal import Rehearsal

SHAPES = ((512, 128), (512,), (512, 128), (512,), (64, 128))
PSI = sum(map(prod, SHAPES))
WEIGHTS = Weights(SHAPES, (True,) * 5, (512 * 129, 512 * 129, 64 * 128))
STEP = Step(((0, 1_000_000), (4 * PSI, 5_000)), ((4 * PSI, 100),))
COUNTS = 4 * len(SHAPES)


def of(strategy: str, ranks: int, weights: Weights = WEIGHTS, step: Step = STEP) -> Share:
    return share(weights, step, strategy, ranks)


def test_bytes_of_adamw_in_closed_form() -> None:
    """Sixteen bytes a weight: four of its own, four of its gradient, eight of AdamW's means."""
    ddp, one, two, three = (of(strategy, 32) for strategy in STRATEGIES)
    assert PSI % 32 == 0
    assert (ddp.parameters, ddp.gradients, ddp.optimizer) == (4 * PSI, 4 * PSI, 8 * PSI + COUNTS)
    assert (one.parameters, one.gradients, one.optimizer) == (4 * PSI, 4 * PSI, 8 * PSI // 32 + COUNTS)
    assert (two.parameters, two.gradients, two.optimizer) == (4 * PSI, 4 * PSI // 32, 8 * PSI // 32 + COUNTS)
    assert (three.parameters, three.gradients) == (4 * PSI // 32, 4 * PSI // 32)
    assert three.optimizer == 8 * PSI // 32 + COUNTS


def test_the_rank_that_has_most_has_whole_rows() -> None:
    """FSDP2 cuts rows: 512 into 3 are 171, 171 and 170; 7 of 512 rows each into 100 ranks are 6 and less."""
    assert cut((512, 128), 3) == 171 * 128
    assert cut((512,), 100) == 6
    assert cut((3, 50), 8) == 50
    assert cut((), 4) == 1
    assert of(ZERO3, 3).parameters == 4 * sum(-(-shape[0] // 3) * prod(shape[1:]) for shape in SHAPES)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_one_rank_shards_nothing_and_sends_nothing(strategy: str) -> None:
    alone = of(strategy, 1)
    assert alone._replace(strategy=DDP) == of(DDP, 1)
    assert alone.peak.low == alone.peak.high == 4 * PSI + 8 * PSI + COUNTS + max(1_000_000, 4 * PSI + 5_000)
    assert (alone.sent, alone.gathered) == (0.0, 0)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_more_ranks_never_hold_more_nor_send_less(strategy: str) -> None:
    for fewer, more in pairwise([of(strategy, ranks) for ranks in (2, 3, 4, 8, 64, 1000, 4096)]):
        assert more.peak.low <= fewer.peak.low
        assert more.peak.high <= fewer.peak.high
        assert more.sent >= fewer.sent


@pytest.mark.parametrize("ranks", [2, 16, 4096])
def test_each_level_holds_no_more_than_the_one_before(ranks: int) -> None:
    lows = [of(strategy, ranks).peak.low for strategy in (DDP, ZERO1, ZERO2)]
    assert lows == sorted(lows, reverse=True)
    assert of(ZERO3, ranks).parameters < of(ZERO2, ranks).parameters


@pytest.mark.parametrize("ranks", [2, 5, 1024])
def test_volumes(ranks: int) -> None:
    part = (ranks - 1) / ranks
    for strategy in (DDP, ZERO1, ZERO2):
        assert isclose(of(strategy, ranks).sent, 2 * part * 4 * PSI)
    root = 64 * 128
    assert isclose(of(ZERO3, ranks).sent, part * 4 * (3 * PSI - root))  # the root is gathered once


def test_frozen_weights_have_no_gradients_to_send() -> None:
    frozen = WEIGHTS._replace(trainable=(False, False, True, True, True))
    left = 4 * (PSI - 512 * 129)
    found = of(DDP, 4, frozen)
    assert (found.parameters, found.gradients, found.optimizer) == (4 * PSI, left, 2 * left + 12)
    assert isclose(found.sent, 2 * 3 / 4 * left)


def test_time_of_talking() -> None:
    h100, m1 = device("h100-sxm"), device("m1-16gb")
    near, far = talk(1e9, 8, 10, h100), talk(1e9, 16, 10, h100)
    assert 1e9 / 450e9 <= near.low <= near.high < far.low <= far.high
    assert talk(1e9, 1, 10, h100) == Interval(0.0, 0.0)
    given = talk(1e9, 16, 10, m1, Interval(25e9, 25e9))
    assert isclose(given.low, 1e9 / 25e9 / 0.95)
    assert given.high > 1e9 / 25e9 / 0.5
    assert talk(1e9, 4096, 10, h100).high > far.high
    with pytest.raises(UserError, match="no public figure says how fast m1-16gb talks"):
        talk(1e9, 2, 1, m1)
    assert collectives(WEIGHTS, ZERO3) == 9
    assert collectives(WEIGHTS, DDP) == 2


def test_fewest_ranks() -> None:
    assert fewest_ranks(WEIGHTS, STEP, 10**9) == 1
    assert fewest_ranks(WEIGHTS, STEP, 10) is None
    room = int(of(ZERO3, 8).peak.high)
    assert fewest_ranks(WEIGHTS, STEP, room) == 8
    assert fewest_ranks(WEIGHTS, STEP, room - 1) in (16, 32, 64, None)


def test_all_rows() -> None:
    rows = every(WEIGHTS, STEP, ranks_of("2, 8"))
    assert [(row.strategy, row.ranks) for row in rows] == [(s, r) for r in (2, 8) for s in STRATEGIES]
    assert rows[0].to_dict()["peak"] == list(rows[0].peak)


@pytest.mark.parametrize("text", ["", "0", "8,", "-1", "8;9", "many"])
def test_ranks_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match="are no ranks"):
        ranks_of(text)
    with pytest.raises(UserError, match="at least 1"):
        of(DDP, 0)


class Layer(nn.Module):
    """Wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, D] -> [B, D]"""
        return x + self.down(torch.relu(self.up(x)))


def build() -> nn.Module:
    return nn.Sequential(*(Layer(64) for _ in range(4)), nn.Linear(64, 8))


def loss(model: nn.Module, batch: int) -> Tensor:
    return model(torch.zeros(batch, 64)).sum()


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), fused=True)


@cache
def whole(batch: int) -> tuple[nn.Module, Record]:
    rehearsal = Rehearsal(build, lambda model: loss(model, batch))
    return rehearsal.model, rehearsal.training(adamw)


@pytest.mark.parametrize("batch", [2, 300])
def test_on_one_rank_the_paper_says_what_the_trace_says(batch: int) -> None:
    model, record = whole(batch)
    weights = weights_of(model, Layer)
    assert weights.numbers == sum(p.numel() for p in model.parameters()) == sum(weights.units)
    alone = share(weights, step_of(record), DDP, 1)
    assert alone.peak == Interval(record.peak()[0], record.peak()[0])


@pytest.mark.parametrize("ranks", [2, 8])
@pytest.mark.parametrize("batch", [2, 300])
def test_a_sharded_step_lies_in_the_interval(batch: int, ranks: int) -> None:
    model, record = whole(batch)
    paper = share(weights_of(model, Layer), step_of(record), ZERO3, ranks)
    real = sharded_step(build, lambda model: loss(model, batch), adamw, ranks, Layer)[1].peak()[0]
    assert paper.peak.low * (1 - 1e-3) <= real <= paper.peak.high
