"""Losses over pairs: those of plain loops and of the reference; several texts of a picture; ranks see one batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from patchword.config import (
    ConfigError,
    ContrastConfig,
    InfoNCEContrastConfig,
    SigmoidContrastConfig,
    SimilarityHeadConfig,
    TripletContrastConfig,
)
from patchword.nn.heads import SimilarityHead
from patchword.tasks.contrast import Contrast, contrastive_loss
from patchword.tasks.gathered import gathered

KINDS: dict[str, ContrastConfig] = {
    "infonce": InfoNCEContrastConfig(),
    "sigmoid": SigmoidContrastConfig(),
    "hardest": TripletContrastConfig(),
    "all": TripletContrastConfig(margin=0.3, hardest=False),
}


def pairs_of(right: Tensor) -> list[tuple[int, int]]:
    return [(i, j) for i in range(len(right)) for j in range(right.shape[1]) if right[i, j]]


def softmax_loss(s: Tensor, right: Tensor) -> Tensor:
    """-log of the pair's share among itself and what is wrong in its row, and in its column; half of each."""
    total = s.new_zeros(())
    for i, j in pairs_of(right):
        row = torch.cat([s[i, j][None], s[i][~right[i]]])
        column = torch.cat([s[i, j][None], s[:, j][~right[:, j]]])
        total = total - (row.log_softmax(0)[0] + column.log_softmax(0)[0]) / 2
    return total


def sigmoid_loss(s: Tensor, right: Tensor) -> Tensor:
    z = torch.where(right, 1.0, -1.0)
    return -torch.sigmoid(z * s).log().sum()


def margin_loss(s: Tensor, right: Tensor, margin: float, hardest: bool) -> Tensor:
    total = s.new_zeros(())
    for i, j in pairs_of(right):
        for wrong in (s[i][~right[i]], s[:, j][~right[:, j]]):
            lacking = (margin + wrong - s[i, j]).clamp_min(0)
            total = total + (lacking.amax() if hardest and len(wrong) else lacking.sum())
    return total


PLAIN: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "infonce": softmax_loss,
    "sigmoid": sigmoid_loss,
    "hardest": lambda s, right: margin_loss(s, right, 0.2, True),
    "all": lambda s, right: margin_loss(s, right, 0.3, False),
}


def head_of(temperature: float | None = 0.2, bias: float | None = None) -> SimilarityHead:
    return SimilarityHeadConfig(temperature=temperature, bias=bias).build().double()


def vectors(count: int, seed: int) -> Tensor:
    made = torch.randn(count, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return F.normalize(made, dim=-1).requires_grad_()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("of_rows", "of_columns"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3]),
        ([5, 2, 9], [2, 5, 5, 9, 2, 5, 7]),  # several texts of a picture, one of none
        ([4, 4, 1], [4, 1, 4, 4]),  # a picture twice
        ([3], [3, 3]),  # nothing wrong
        ([1, 2], []),
        ([], [1]),
        ([], []),
    ],
)
def test_losses_are_those_of_plain_loops(kind: str, of_rows: list[int], of_columns: list[int]) -> None:
    contrast: Contrast = KINDS[kind].build()
    rows, columns, head = vectors(len(of_rows), 1), vectors(len(of_columns), 2), head_of(0.3, -1.0)
    ids = [torch.tensor(of, dtype=torch.long) for of in (of_rows, of_columns)]
    ours = contrastive_loss(contrast, head, rows, columns, *ids)
    right = ids[0][:, None] == ids[1]
    scores = rows @ columns.T / 0.3 - 1.0
    plain = PLAIN[kind](scores, right) if scores.numel() else scores.sum()
    torch.testing.assert_close(ours.total, plain)
    assert int(ours.count) == int(right.sum())
    mine = torch.autograd.grad(ours.total, [rows, columns], retain_graph=True)
    theirs = torch.autograd.grad(plain, [rows, columns])
    torch.testing.assert_close(mine, theirs)
    ours.total.backward()
    assert all(torch.isfinite(p.grad).all() for p in head.parameters() if p.grad is not None)


def test_one_text_a_picture_is_clip_and_siglip() -> None:
    rows, columns, ids = vectors(5, 1), vectors(5, 2), torch.arange(5)
    head = head_of(0.07)
    ours = contrastive_loss(KINDS["infonce"].build(), head, rows, columns, ids, ids)
    scores = rows @ columns.T / 0.07
    theirs = (F.cross_entropy(scores, ids) + F.cross_entropy(scores.T, ids)) / 2
    torch.testing.assert_close(ours.total / ours.count, theirs)
    ours = contrastive_loss(KINDS["sigmoid"].build(), head_of(0.1, -10.0), rows, columns, ids, ids)
    labels = 2 * torch.eye(5, dtype=torch.float64) - 1
    theirs = -F.logsigmoid(labels * (10 * rows @ columns.T - 10)).sum() / 5  # Zhai et al. 2023, algorithm 1
    torch.testing.assert_close(ours.total / ours.count, theirs)


def test_losses_are_the_references(shared: Path) -> None:
    given = load_file(shared / "reference" / "fixtures" / "s003_losses.safetensors")
    ids = torch.arange(5)

    def loss(config: ContrastConfig, scores: Tensor, temperature: float | None) -> tuple[float, float]:
        """Scores as those of unit vectors with the rows of the scores."""
        head = SimilarityHeadConfig(temperature=temperature).build()
        found = contrastive_loss(config.build(), head, scores, torch.eye(5), ids, ids)
        return (found.total / found.count).item(), found.total.item()

    alike = F.normalize(given["in/text_embeds"], dim=-1) @ F.normalize(given["in/image_embeds"], dim=-1).T
    for scores, name in ((alike, "infonce"), (given["in/scores"], "infonce_scores")):
        assert loss(KINDS["infonce"], scores, 0.07)[0] == pytest.approx(float(given[f"out/{name}"]), rel=1e-5)
    hardest = TripletContrastConfig()
    assert loss(hardest, given["in/scores"], None)[0] == pytest.approx(float(given["out/triplet_max"]), rel=1e-5)
    every = TripletContrastConfig(hardest=False)
    assert loss(every, given["in/scores"], None)[1] == pytest.approx(float(given["out/triplet_sum"]), rel=1e-5)


# ------------------------------------------------------------------ the head


def test_the_scale_is_learned_and_bounded() -> None:
    head: SimilarityHead = SimilarityHeadConfig().build()
    assert head.log_scale is not None
    assert head.log_scale.item() == pytest.approx(math.log(1 / 0.07))
    assert [name for name, _ in head.named_parameters()] == ["log_scale"]
    with torch.no_grad():
        head.log_scale.fill_(9.0)
    head.after_step()
    assert head.log_scale.item() == pytest.approx(math.log(100))
    plain = SimilarityHeadConfig(temperature=None).build()
    a, b = torch.randn(2, 4), torch.randn(3, 4)
    assert not list(plain.parameters())
    torch.testing.assert_close(plain(a, b), a @ b.T)
    plain.after_step()


def test_settings_that_contradict_are_refused() -> None:
    with pytest.raises(ConfigError, match="less than the scale of the start"):
        SimilarityHeadConfig(temperature=0.005)
    with pytest.raises(ConfigError, match="name two heads"):
        SimilarityHeadConfig(rows="text")


# ------------------------------------------------------------------ ranks


def test_one_process_gathers_its_own() -> None:
    x = torch.randn(3, 2)
    found = gathered(x)
    assert found.every is x
    assert found.mine == slice(0, 3)


PARTS = (3, 1)  # pictures of each rank; the texts are two a picture


def _rank(rank: int, where: str, kind: str, out: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{where}", rank=rank, world_size=2)
    rows, columns, ids, texts = whole()
    first = sum(PARTS[:rank])
    mine = slice(first, first + PARTS[rank])
    words = slice(2 * first, 2 * (first + PARTS[rank]))
    head = head_of(0.3, -1.0)
    found = contrastive_loss(KINDS[kind].build(), head, rows[mine], columns[words], ids[mine], texts[words])
    found.total.backward()
    sums = torch.stack([found.total.detach(), found.count.double()])
    dist.all_reduce(sums)
    grads = [g for g in (rows.grad, columns.grad, *(p.grad for p in head.parameters())) if g is not None]
    for grad in grads:
        dist.all_reduce(grad)
    if rank == 0:
        torch.save([sums, *grads], out)
    dist.destroy_process_group()


def whole() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    count = sum(PARTS)
    return vectors(count, 3), vectors(2 * count, 4), torch.arange(count), torch.arange(count).repeat_interleave(2)


@pytest.mark.parametrize("kind", ["infonce", "hardest"])
def test_two_ranks_are_one_process(kind: str, tmp_path: Path) -> None:
    spawn(_rank, (str(tmp_path / "meet"), kind, str(tmp_path / "out.pt")), nprocs=2)
    rows, columns, ids, texts = whole()
    head = head_of(0.3, -1.0)
    found = contrastive_loss(KINDS[kind].build(), head, rows, columns, ids, texts)
    found.total.backward()
    sums, *grads = torch.load(tmp_path / "out.pt", weights_only=True)
    torch.testing.assert_close(sums, torch.stack([found.total.detach(), found.count.double()]))
    own = [g for g in (rows.grad, columns.grad, *(p.grad for p in head.parameters())) if g is not None]
    assert len(own) == len(grads) >= 3
    for mine, theirs in zip(grads, own, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-12)
