"""CoCa: one pass gives both losses, each as its parts alone would have it; a text's vector has read all of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from toy_pairs import batch_of, pairs
from toy_sources import ToySource

import patchword
from patchword.config import ConfigError, RunConfig
from patchword.models.model import Model
from patchword.models.presets import load_config
from patchword.sequence import ImageInput, TextInput
from patchword.tasks.coca import CocaTask

TOY: dict[str, Any] = {
    "model.image.dim": 16,
    "model.image.depth": 1,
    "model.image.stem": [],
    "model.image.patch_size": [8, 8],
    "model.image.image_size": [16, 16],
    "model.text.dim": 16,
    "model.text.depth": 1,
    "model.text.max_len": 9,
    "model.trunk.dim": 16,
    "model.trunk.depth": 1,
    "model.fusion.summary.num_queries": 3,
    "model.heads.image_vector.out_dim": 8,
    "model.heads.text_vector.out_dim": 8,
    "data.image.height": 16,
    "data.image.width": 16,
    "data.image.cache": "none",
    "data.tokenizer.min_frequency": 1,
    "data.batch.captions": 2,
    "task.decode.max_len": 8,
    "task.label_smoothing": 0.0,
}
CAPTIONS = [("a red dog", "a dog that is red", "red"), ("two cats", "cats"), ("one ape in a tree",)]


def toy(broken: int | None = None) -> ToySource:
    return pairs(CAPTIONS, broken=broken)


def prepared(changes: Mapping[str, Any] | None = None) -> tuple[CocaTask, Model]:
    run: RunConfig = load_config("coca-small", TOY | dict(changes or {}))
    task = CocaTask.prepare(run, toy())
    return task, task.model_config().build().double().eval()


def test_texts_are_whole_and_pictures_have_numbers() -> None:
    task, _ = prepared()
    batch = batch_of(task, toy().splits["train"])
    ids, valid = cast(TextInput, batch.inputs["text"])
    assert valid is not None
    rows = [task.tokenizer.encode(text) for text in ("red", "a red dog", "a dog that is red")]
    assert [ids[i][valid[i]].tolist() for i in range(3)] == rows
    assert valid.any(1).tolist() == [True, True, True, False, True, True, True, False]
    of = batch.targets["pictures"]
    assert of[0] == of[1] != of[2]  # the first picture has three captions and comes twice
    assert batch.targets["texts"].tolist() == of.repeat_interleave(2).tolist()


def test_the_loss_is_that_of_its_parts() -> None:
    """Captions one by one, without padding: next words through the trunk, vectors, and a plain contrast of pairs."""
    task, model = prepared({"task.caption_weight": 3.0, "task.contrast_weight": 0.5})
    source = toy()
    batch = batch_of(task, source.splits["train"])
    loss = task.loss(model, batch)
    pixels = [task.shown.inputs([_picture(task, source, i)], [{}])["image"] for i in range(3)]
    words, vectors, of = [], [], []
    for i, texts in enumerate(CAPTIONS):
        for text in texts:
            ids = torch.tensor([task.tokenizer.encode(text)])
            out = model({"image": pixels[i], "text": ids})
            words.append(F.cross_entropy(out.heads["text"][0, :-1], ids[0, 1:], reduction="none"))
            vectors.append(out.heads["text_vector"][0])
            of.append(i)
    rows = [0, 0, 1, 2]  # the picture with three captions is there twice
    seen = torch.cat([model({"image": pixels[i]}, heads=("image_vector",)).heads["image_vector"] for i in rows])
    scores = seen @ torch.stack(vectors).T / 0.07
    right = torch.tensor(rows)[:, None] == torch.tensor(of)
    paired = 0.0
    for r, c in right.nonzero().tolist():
        row = torch.cat([scores[r, c][None], scores[r][~right[r]]])
        column = torch.cat([scores[r, c][None], scores[:, c][~right[:, c]]])
        paired = paired - (row.log_softmax(0)[0] + column.log_softmax(0)[0]) / 2
    assert loss.count.item() == right.sum()
    expected = 3.0 * torch.cat(words).mean() + 0.5 * paired / right.sum()
    torch.testing.assert_close(loss.total / loss.count, expected, rtol=1e-6, atol=1e-9)


def _picture(task: CocaTask, source: ToySource, index: int) -> torch.Tensor:
    examples = task.examples(source.splits["train"], train=False)
    return examples.pipeline(source.splits["train"].read(index), "", None)


def test_rehearsal_is_the_loss_of_a_full_batch() -> None:
    task, model = prepared()
    batch = task.full_batch(task.run, 3)
    loss = task.loss(model, batch)
    torch.testing.assert_close(task.rehearse(task.run, model, batch), loss.total / loss.count)
    assert cast(TextInput, batch.inputs["text"]).ids.shape == (6, 9)
    task.rehearse_generation(task.run, model, batch)


def test_a_batch_of_bad_pictures_has_no_part_and_no_nan() -> None:
    task, model = prepared()
    batch = batch_of(task, toy(broken=1).splits["val"], [2])
    assert batch.ids == ()
    out = task.loss(model.train(), batch)
    assert (out.total.item(), out.count.item()) == (0.0, 0)
    out.total.backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


def test_evaluation_has_the_metrics_of_both() -> None:
    task, model = prepared()
    model = model.float()
    out = task.evaluate(model, toy(broken=0), "val", None, "cpu")
    assert set(out.metrics) >= {"loss", "perplexity", "cider_d", "recall_mean", "i2t_recall_1", "t2i_median_rank"}
    assert (out.count, len(out.bad)) == (2, 1)
    pictures, texts = task.embed(model, [_picture(task, toy(), 1)], ["two cats"], "cpu")
    said = model({"image": ImageInput(_picture(task, toy(), 1)[None]), "text": torch.tensor([[1, 5, 2]])})
    torch.testing.assert_close(pictures, said.heads["image_vector"])
    assert texts.shape == (1, 8)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"task.similarity": "text"}, "unknown similarity head 'text'"),
        ({"model.text.attention.causal": False}, "the layers of the text tower must be causal"),
        ({"task.contrast.kind": "triplet"}, "set temperature and bias to null"),
        ({"model.heads.text_vector.source": "trunk"}, "text's tower"),
    ],
)
def test_models_that_cannot_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config("coca-small", change)


def test_a_run_on_the_scenes(tmp_path: Path) -> None:
    changes: dict[str, Any] = TOY | {f"data.scenes.{split}": 16 for split in ("train", "val", "test")}
    changes |= {"data.batch.size": 8}
    changes |= {"data.image.height": 32, "data.image.width": 32, "model.image.image_size": [32, 32]}
    changes |= {"train.steps": 2, "train.schedule.warmup": 1, "train.eval_every": None, "train.threads": 1}
    result = patchword.train("coca-small", tmp_path / "run", **changes)
    assert result.metrics["recall_mean"] >= 0
    trained = patchword.load(tmp_path / "run")
    picture = np.zeros((20, 20, 3), dtype=np.uint8)
    [said] = trained.predict(picture)
    assert isinstance(said.text, str)
    assert trained.embed(texts=["a circle", "a square"]).shape == (2, 8)
