"""Recalls and ranks are those of the reference and of plain sorting; ties count against, and parts change nothing."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import rankdata
from torch import Tensor

from patchword.tasks.metrics import retrieval
from patchword.tasks.metrics.retrieval import both_ways, likest, ranks, ranks_of, recalls


def test_recalls_are_the_references(shared: Path) -> None:
    given = load_file(shared / "reference" / "fixtures" / "s003_retrieval_metrics.safetensors")
    scores, own = given["in/scores"], torch.eye(20, dtype=torch.bool)
    for way, found in (("i2t", ranks_of(scores, own)), ("t2i", ranks_of(scores.T, own))):
        ours = recalls(found.numpy())
        for k in (1, 5, 10):
            assert 100 * ours[f"recall_{k}"] == pytest.approx(given[f"out/{way}_r_at_{k}"].item(), abs=1e-4)


def plain(scores: Tensor, right: Tensor) -> list[int]:
    """Place of the best right one among the wrong ones, sorted; the last of those that score the same."""
    found = []
    for row, own in zip(scores.tolist(), right.tolist(), strict=True):
        best = max(s for s, r in zip(row, own, strict=True) if r)
        order = sorted([*(s for s, r in zip(row, own, strict=True) if not r), best], reverse=True)
        found.append(len(order) - order[::-1].index(best))
    return found


@pytest.mark.parametrize("levels", [3, 1000])
def test_ranks_are_those_of_sorting(levels: int) -> None:
    """Three levels: ties everywhere."""
    draw = torch.Generator().manual_seed(levels)
    scores = torch.randint(0, levels, (30, 60), generator=draw).double()
    right = torch.randint(0, 12, (30, 60), generator=draw) == 0
    right[:, 7] = True
    assert ranks_of(scores, right).tolist() == plain(scores, right)


@pytest.mark.parametrize("levels", [3, 1000])
def test_ranks_of_one_right_candidate_are_those_of_scipy(levels: int) -> None:
    """Its largest of tied ranks."""
    scores = torch.randint(0, levels, (30, 30), generator=torch.Generator().manual_seed(levels)).double()
    found = ranks_of(scores, torch.eye(30, dtype=torch.bool)).numpy()
    want = rankdata(-scores.numpy(), method="max", axis=1).diagonal()
    assert found.tolist() == want.tolist()
    ours = recalls(found)
    assert ours["median_rank"] == np.median(want)
    assert ours["mean_rank"] == np.mean(want)


def test_ties_and_what_is_no_number_count_against() -> None:
    right = torch.tensor([[True, False, False, True]])
    assert ranks_of(torch.tensor([[0.5, 0.5, 0.1, 0.2]]), right).tolist() == [2]
    assert ranks_of(torch.tensor([[0.5, math.nan, 0.1, 0.2]]), right).tolist() == [2]
    assert ranks_of(torch.zeros(1, 4), right).tolist() == [3]


def test_both_ways_by_hand() -> None:
    """Two pictures, three texts; the second picture's text is nearer to the first picture."""
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    texts = torch.tensor([[1.0, 0.1], [0.2, 0.1], [0.9, 0.5]])
    found = both_ways(images, texts, torch.tensor([4, 9]), torch.tensor([4, 4, 9]))
    assert found["i2t_recall_1"] == 1.0  # 0.5 beats 0.1 and 0.1
    assert found["t2i_recall_1"] == pytest.approx(2 / 3)
    assert (found["t2i_median_rank"], found["t2i_mean_rank"]) == (1.0, pytest.approx(4 / 3))
    assert found["recall_mean"] == pytest.approx((5 + 2 / 3) / 6)
    assert [f.tolist() for f in likest(images, texts)] == [[0, 2], [1.0, 0.5]]


def test_parts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(1)
    images, texts = torch.randn(23, 6, generator=draw), torch.randn(46, 6, generator=draw)
    of_images, of_texts = torch.arange(23), torch.arange(23).repeat_interleave(2)
    whole = both_ways(images, texts, of_images, of_texts), likest(images, texts)
    monkeypatch.setattr(retrieval, "_QUERIES", 5)
    assert both_ways(images, texts, of_images, of_texts) == whole[0]
    assert all((a == b).all() for a, b in zip(likest(images, texts), whole[1], strict=True))
    assert ranks(images, texts, of_images, of_texts).tolist() == plain(images @ texts.T, of_images[:, None] == of_texts)


def test_nothing_to_find_has_every_metric() -> None:
    none, no_ids = torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)
    found = both_ways(none, none, no_ids, no_ids)
    assert found["recall_mean"] == found["i2t_recall_10"] == 0.0
    assert np.isinf(found["t2i_median_rank"])
    assert len(likest(none, none)[0]) == 0
