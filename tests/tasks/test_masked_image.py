"""Masked image modelling: what is hidden, what the loss is, and that what is hidden cannot be seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

import patchword
from patchword.config import ConfigError, MaskedImageTaskConfig, RunConfig, UserError
from patchword.data.batch import Batch
from patchword.data.sources import open_source
from patchword.models.model import Model
from patchword.models.presets import load_config
from patchword.models.tower import ImageTower
from patchword.sequence import ImageInput
from patchword.tasks.masked_image import MaskedImageTask, hide, num_hidden

TINY: dict[str, Any] = {
    "data.scenes.train": 24, "data.scenes.val": 5, "data.batch.size": 8, "model.image.dim": 32, "model.image.depth": 1,
    "model.image.ffn.hidden_dim": 40, "train.steps": 3, "train.threads": 1, "train.save_every": None,
    "train.schedule": {"kind": "constant", "warmup": 0},
}  # fmt: skip


def made(**changes: Any) -> tuple[MaskedImageTask, Model, Batch, RunConfig]:
    run = load_config("masked-image-tiny", TINY | {key.replace("__", "."): value for key, value in changes.items()})
    source = open_source(run.data, run.task.fields)
    task = MaskedImageTask.prepare(run, source)
    torch.manual_seed(1)
    model: Model = task.model_config().build().double()
    examples = task.examples(source.splits["train"], train=True)
    return task, model, examples.collate([examples[0, i] for i in range(4)]), run


def tower_of(model: Model) -> ImageTower:
    return cast(ImageTower, model.towers["image"])


@pytest.mark.parametrize(("grid", "share", "block", "count"), [
    ((8, 8), 0.6, 1, 38), ((8, 8), 0.6, 2, 40), ((2, 3), 0.01, 1, 1), ((2, 2), 0.99, 1, 3), ((1, 1), 0.5, 1, 1),
])  # fmt: skip
def test_always_as_many_patches_are_hidden_in_whole_squares(
    grid: tuple[int, int], share: float, block: int, count: int
) -> None:
    for seed in range(5):
        hidden = hide(grid, share, block, np.random.default_rng(seed)).view(grid)
        assert int(hidden.sum()) == count == num_hidden(grid, share, block)
        squares = hidden.unflatten(1, (-1, block)).unflatten(0, (-1, block)).sum((1, 3))
        assert set(squares.flatten().tolist()) <= {0, block * block}


def test_every_patch_is_hidden_as_often() -> None:
    share = sum(hide((4, 4), 0.5, 1, np.random.default_rng(seed)).double() for seed in range(400)) / 400
    assert float((cast(Tensor, share) - 0.5).abs().max()) < 0.1


def test_masks_are_of_seed_epoch_and_index_alone_and_of_evaluation_always_the_same() -> None:
    task, _, _, run = made()
    split = open_source(run.data, run.task.fields).splits["train"]
    train, other = (task.examples(split, train=True) for _ in range(2))
    assert torch.equal(train[1, 3].hidden, other[1, 3].hidden)  # pyright: ignore
    assert not torch.equal(train[1, 3].hidden, train[2, 3].hidden)  # pyright: ignore
    assert not torch.equal(train[1, 3].hidden, train[1, 4].hidden)  # pyright: ignore
    still = task.examples(split, train=False)
    assert torch.equal(still[0, 3].hidden, still[7, 3].hidden)  # pyright: ignore


@pytest.mark.parametrize("stem", [[], [8, 16]])
def test_what_is_hidden_is_not_seen(stem: list[int]) -> None:
    """Whatever stands there, all other tokens are the same, and the hidden one is the mask token in its place."""
    _, model, batch, _ = made(model__image__stem=stem)
    image = cast(ImageInput, batch.inputs["image"])
    assert image.hidden is not None
    places = image.hidden.view(-1, 1, 8, 8).repeat_interleave(4, 2).repeat_interleave(4, 3)
    noise = torch.where(places, torch.randint_like(image.pixels, 255), image.pixels)
    tower = tower_of(model)
    torch.nn.init.normal_(cast(Tensor, tower.embedding.mask_token))
    a, b = (tower(ImageInput(pixels, None, image.hidden)).x for pixels in (image.pixels, noise))
    assert not torch.equal(image.pixels, noise)
    assert torch.equal(a, b)
    embedded = tower.embedding(image).x
    assert torch.equal(
        embedded[image.hidden], cast(Tensor, tower.embedding.mask_token).expand_as(embedded[image.hidden])
    )
    assert not torch.equal(tower(image.pixels).x, a)  # without a mask everything is seen


@pytest.mark.parametrize("cls_token", [False, True])
def test_the_loss_is_the_mean_absolute_error_of_hidden_pixels(cls_token: bool) -> None:
    task, model, batch, _ = made(model__image__cls_token=cls_token, model__image__mean=[0.4, 0.5, 0.6])
    image = cast(ImageInput, batch.inputs["image"])
    loss = task.loss(model, batch)
    said = model(batch.inputs).heads["pixels"][:, int(cls_token) :]
    total, count = torch.zeros((), dtype=torch.double), 0
    for b, n in cast(Tensor, image.hidden).nonzero().tolist():
        row, column = divmod(n, 8)
        patch = image.pixels[b, :, row * 4 : row * 4 + 4, column * 4 : column * 4 + 4].double() / 255
        patch = (patch - torch.tensor([0.4, 0.5, 0.6], dtype=torch.double)[:, None, None]) / 0.5
        total, count = total + (said[b, n] - patch.flatten()).abs().sum(), count + patch.numel()
    assert int(loss.count) == count == 4 * 38 * 48
    torch.testing.assert_close(loss.total, total)


def test_every_weight_learns_from_a_hidden_patch_and_stays_in_the_graph_without() -> None:
    task, model, batch, _ = made()
    task.loss(model, batch).total.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    model.zero_grad(set_to_none=True)
    tower_of(model)(cast(ImageInput, batch.inputs["image"]).pixels).x.sum().backward()
    grad = cast(Tensor, tower_of(model).embedding.mask_token).grad
    assert grad is not None
    assert not grad.any()


def test_evaluation_in_steps_of_pixels() -> None:
    task, model, _, run = made(model__image__std=[0.25, 0.25, 0.25])
    source = open_source(run.data, run.task.fields)
    found = task.evaluate(model.eval(), source, "val", None, "cpu")
    assert found.count == 5
    assert found.metrics["pixel_error"] == pytest.approx(found.metrics["loss"] * 0.25 * 255)
    assert task.evaluate(model, source, "val", 2, "cpu").count == 2


def test_a_run_is_trained_and_a_classifier_starts_from_its_tower(tmp_path: Path) -> None:
    run = load_config("masked-image-tiny", TINY)
    patchword.train(run, tmp_path / "seen")
    trained = patchword.load(tmp_path / "seen")
    with pytest.raises(UserError, match="init_from"):
        trained.predict(np.zeros((32, 32, 3), np.uint8))
    sizes = {key: value for key, value in TINY.items() if key.startswith(("model", "data", "train"))}
    start: dict[str, Any] = {"model.image.init_from": str(tmp_path / "seen"), "train.optimizer.freeze": ["towers.*"]}
    patchword.train("classifier-tiny", tmp_path / "told", report=False, **sizes, **start)
    own, theirs = (patchword.load(tmp_path / name).model.towers["image"].state_dict() for name in ("told", "seen"))
    assert theirs.keys() - own.keys() == {"embedding.mask_token"}
    assert all(torch.equal(own[key], theirs[key]) for key in own)


def test_sizes() -> None:
    found = patchword.size("masked-image-tiny", batch=2)
    plain = patchword.size("classifier-tiny", batch=2)
    assert found.total.parameters == 564_272
    assert found.total.parameters - plain.total.parameters == 128 + (128 * 48 + 48) - (128 * 2 + 2)


@pytest.mark.parametrize(("changes", "words"), [
    ({"model.image.mask_token": False}, "mask_token"),
    ({"task.block": 3}, "do not fill 8 x 8 patches"),
    ({"data.image.resize": "fit", "data.image.multiple": 4}, "one size"),
    ({"task.share": 1.0}, "task.share"),
    ({"task.head": "label"}, "pixels"),
])  # fmt: skip
def test_what_cannot_be_learnt_so(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config("masked-image-tiny", changes)
    assert MaskedImageTaskConfig().share == 0.6


def test_a_tower_without_the_token_refuses_hidden_patches() -> None:
    _, model, batch, _ = made()
    tower_of(model).embedding.mask_token = None
    with pytest.raises(ValueError, match="token"):
        model(batch.inputs)
