"""Retrieval: batches, evaluation as plain loops have it, predictions, a whole run, five pairs learnt by heart."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from toy_pairs import CAPTIONS, TOY, batch_of, pairs, prepared

import patchword
from patchword.api import Measured, Trained
from patchword.config import ConfigError, UserError
from patchword.models.presets import load_config
from patchword.sequence import TextInput
from patchword.tasks.base import Query
from patchword.training.learner import Learner

# ------------------------------------------------------------------ batches


def test_a_picture_with_several_captions_is_read_once() -> None:
    task, _ = prepared({"data.batch.captions": 2})
    source = pairs(broken=3)
    examples = task.examples(source.splits["val"], train=False)
    assert len(examples) == 6  # the first picture has three captions
    batch = batch_of(task, source.splits["val"])
    assert batch.targets["pictures"].tolist() == [0, 0, 1, 2, 4]
    assert batch.targets["texts"].tolist() == [0, 0, 0, 1, 2, 2, 4]
    assert [b.id for b in batch.bad] == ["val-3"]
    ids, valid = cast(TextInput, batch.inputs["text"])
    tokenizer = task.tokenizers["text"]
    assert tokenizer.decode(ids[0].tolist()) == "red"  # captions of like length are together
    assert valid is not None
    assert valid.sum(1).tolist() == [len(tokenizer.encode(t)) for t in ("red", "a red dog")] + [7, 4, 4, 7, 5]


def test_loss_and_rehearsal() -> None:
    task, model = prepared({"data.batch.captions": 2})
    batch = task.full_batch(task.run, 5)
    assert batch.inputs["text"][0].shape == (10, 8)
    loss = task.loss(model, batch)
    assert loss.count.item() == 10
    torch.testing.assert_close(task.rehearse(task.run, model, batch), loss.total / loss.count)
    with pytest.raises(UserError, match="says nothing token by token"):
        task.rehearse_generation(task.run, model, batch)


@pytest.mark.parametrize("chunk", [None, 2])
def test_a_batch_of_bad_pictures_has_no_part_and_no_nan(chunk: int | None) -> None:
    source = pairs(CAPTIONS[:1], broken=0)
    task, model = prepared({"task.chunk": chunk})
    batch = batch_of(task, source.splits["val"])
    assert (batch.ids, len(batch.bad)) == ((), 3)
    out = task.loss(model.train(), batch)
    assert (out.total.item(), out.count.item()) == (0.0, 0)
    out.total.backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


# ------------------------------------------------------------------ evaluation and prediction


def test_evaluation_is_that_of_plain_loops() -> None:
    source = pairs(broken=1)
    task, model = prepared({"data.batch.size": 3})
    out = task.evaluate(model, source, "val", None, "cpu")
    pictures = {i: task.pipeline(source.splits["val"].read(i), "", None) for i in (0, 2, 3, 4)}
    with torch.no_grad():
        images = model({"image": torch.stack(list(pictures.values()))}, heads=("image",)).heads["image"]
        said = [(i, text) for i in pictures for text in CAPTIONS[i]]
        texts = torch.cat(
            [
                model({"text": torch.tensor([task.tokenizers["text"].encode(t, 8)])}, ("text",)).heads["text"]
                for _, t in said
            ]
        )
        scores = images @ texts.T
    own = torch.tensor([[i == j for j, _ in said] for i in pictures])
    i2t = [1 + int((scores[r][~own[r]] >= scores[r][own[r]].max()).sum()) for r in range(4)]
    t2i = [1 + int((scores[:, c][~own[:, c]] >= scores[own[:, c], c]).sum()) for c in range(len(said))]
    assert out.metrics["i2t_recall_1"] == np.mean([r == 1 for r in i2t])
    assert out.metrics["t2i_mean_rank"] == pytest.approx(np.mean(t2i))
    assert out.metrics["t2i_median_rank"] == np.median(t2i)
    assert [p.text for p in out.predictions] == [said[int(scores[r].argmax())][1] for r in range(4)]
    assert [p.correct for p in out.predictions] == [r == 1 for r in i2t]
    assert [p.references for p in out.predictions] == [CAPTIONS[i] for i in pictures]
    assert (out.count, [b.id for b in out.bad]) == (4, ["val-1"])
    batches = [([0, 1, 2], [j for j, (i, _) in enumerate(said) if i < 4]), ([3], [len(said) - 1])]
    total = 0.0
    for rows, columns in batches:
        part, mine = scores[rows][:, columns] / 0.07, own[rows][:, columns]
        for r, c in mine.nonzero().tolist():
            row = torch.cat([part[r, c][None], part[r][~mine[r]]])
            column = torch.cat([part[r, c][None], part[:, c][~mine[:, c]]])
            total -= float(row.log_softmax(0)[0] + column.log_softmax(0)[0]) / 2
    assert out.metrics["loss"] == pytest.approx(total / len(said), rel=1e-4)
    assert task.evaluate(model, source, "val", 2, "cpu").count == 1


def test_a_split_of_bad_pictures_has_every_metric() -> None:
    task, model = prepared()
    out = task.evaluate(model, pairs(CAPTIONS[:1], broken=0), "val", None, "cpu")
    assert (out.count, len(out.bad), out.predictions) == (0, 1, [])
    assert out.metrics["loss"] == out.metrics["i2t_median_rank"] == float("inf")
    assert out.metrics["recall_mean"] == 0.0


def test_predictions_are_cosines() -> None:
    task, model = prepared()
    pictures = [torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8) for _ in range(2)]
    said = task.predict(model, [Query("a", pictures[0], "a red dog"), Query("b", pictures[1], "two cats")], "cpu")
    images, texts = task.embed(model, pictures, ["a red dog", "two cats"], "cpu")
    for row, one in enumerate(said):
        assert one.score == pytest.approx(float(images[row] @ texts[row]), abs=1e-6)
    assert said[0].text == f"{said[0].score:.3f} a red dog"
    with pytest.raises(UserError, match="--text"):
        task.predict(model, [Query("a", pictures[0])], "cpu")
    with pytest.raises(UserError, match="--image"):
        task.predict(model, [Query("a", None, "a dog")], "cpu")
    assert task.predict(model, [], "cpu") == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"task.head": "text"}, "unknown similarity head 'text'"),
        ({"model.heads.similarity.rows": "pixels"}, "unknown embedding head 'pixels'"),
        ({"model.heads.image.out_dim": 8}, "vectors of image are 8 wide, those of text 128"),
        ({"model.heads.similarity.rows": "text", "model.heads.similarity.columns": "image"}, "picture's tower"),
        ({"task.contrast.kind": "triplet"}, "set temperature and bias to null"),
        ({"data.image.height": 30}, "30 is not a whole number of patches"),
        ({"model.fusion": {"kind": "prefix"}}, "towers that never meet"),
    ],
)
def test_models_that_cannot_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config("clip-tiny", change)


# ------------------------------------------------------------------ a whole run

SMALL = TOY | {
    "data.scenes.train": 48,
    "data.scenes.val": 12,
    "data.scenes.test": 8,
    "data.batch.size": 16,
    "data.image.height": 32,
    "data.image.width": 32,
    "model.image.image_size": [32, 32],
    "train.steps": 3,
    "train.schedule.warmup": 1,
    "train.threads": 1,
}


def test_a_run_on_the_scenes(tmp_path: Path) -> None:
    def zero_shot(templates: list[str], names: dict[str, str]) -> Measured:
        changes: dict[str, Any] = {"task.zero_shot.templates": templates, "task.zero_shot.names": names}
        return patchword.evaluate(tmp_path / "run", split="test", **changes)

    result = patchword.train("clip-tiny", tmp_path / "run", **SMALL)
    assert 0 <= result.metrics["recall_mean"] <= 1
    assert (tmp_path / "run" / "model" / "tokenizer.json").is_file()
    trained = patchword.load(tmp_path / "run")
    assert trained.evaluate(split="novel").count == 8
    picture = np.zeros((40, 50, 3), dtype=np.uint8)
    [said] = trained.predict(picture, text="a red circle")
    vectors = trained.embed(images=[picture, picture]), trained.embed(texts="a red circle")
    assert vectors[0].shape == (2, 16)
    assert said.score == pytest.approx(float(vectors[0][0] @ vectors[1][0]), abs=1e-6)
    with pytest.raises(UserError, match="one or the other"):
        trained.embed()
    found_by_the_example(tmp_path, trained)
    shapes = zero_shot(["a {}"], {})
    assert set(shapes.metrics) >= {"accuracy", "loss"}
    with pytest.raises(UserError, match="only settings of task and data"):
        Trained(tmp_path / "run", overrides={"model.text.depth": 2})
    with pytest.raises(UserError, match=r"task\.zero_shot\.names: no class .* 'circel'.*did you mean 'circle'"):
        zero_shot(["a {}"], {"circel": "x"})


def found_by_the_example(place: Path, trained: Trained) -> None:
    search = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "search_pictures.py"))["search"]
    folder = place / "photos"
    folder.mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    vectors = trained.embed(images=[folder / f"{i}.png" for i in range(3)]) @ trained.embed(texts="a red circle")[0]
    for _ in range(2):  # the second time from what was kept
        found = search(str(place / "run"), str(folder), "a red circle", most=2)
        assert [path.name for path, _ in found] == [f"{i}.png" for i in np.argsort(-vectors)[:2]]
        assert found[0][1] == pytest.approx(vectors.max(), abs=1e-6)


def test_five_pairs_are_learnt_by_heart(tmp_path: Path) -> None:
    """A003-t: R@1 is 100 on five training pairs within 200 steps."""
    source = pairs([("a red dog",), ("two cats",), ("one ape",), ("a fish",), ("a tree",)])
    task, model = prepared(source=source)
    learner = Learner(task, model.train(), task.run.train, "cpu")
    batch = batch_of(task, source.splits["train"])
    for step in range(1, 61):
        learner.step([batch], step, 1e-3)
    found = task.evaluate(model.eval(), source, "train", None, "cpu").metrics
    assert found["i2t_recall_1"] == found["t2i_recall_1"] == 1.0
