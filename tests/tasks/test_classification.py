"""Classification: the loss is torch's own, metrics are those of plain loops, an unseen class is never another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from toy_sources import ToySource, ToySplit

import patchword
from patchword.config import ClassificationTaskConfig, ConfigError, DataConfig, RunConfig, ScenesConfig, UserError
from patchword.data.base import Split
from patchword.data.sources import open_source
from patchword.models.create import planned_model
from patchword.models.model import Model, count_parameters
from patchword.models.presets import load_config
from patchword.tasks.base import Query
from patchword.tasks.classification import ClassificationTask
from patchword.tasks.labels import UNSEEN, Labels
from patchword.training.resume import data_digest

TOY = {
    "model.image.dim": 32,
    "model.image.depth": 1,
    "model.image.stem": [],
    "model.image.patch_size": [8, 8],
    "model.image.image_size": [16, 16],
    "data.image.height": 16,
    "data.image.width": 16,
}


def toy_split(name: str, labels: Sequence[str | tuple[str, ...]], broken: int | None = None) -> ToySplit:
    """Pictures of given classes."""
    every = [(label,) if isinstance(label, str) else label for label in labels]
    return ToySplit(name, [{"label": own} for own in every], broken)


def toy(train: Sequence[str | tuple[str, ...]], val: Sequence[str], broken: int | None = None) -> ToySource:
    """Of even and of odd pictures."""
    splits = toy_split("train", train), toy_split("val", val, broken)
    return ToySource(*splits, group=lambda index: "even" if index % 2 == 0 else "odd")


def prepared(source: ToySource, **changes: object) -> tuple[ClassificationTask, Model]:
    run: RunConfig = load_config("classifier-tiny", TOY | changes)
    task = ClassificationTask.prepare(run, source)
    return task, task.model_config().build().eval()


def batch_of(task: ClassificationTask, split: Split):
    examples = task.examples(split, train=False)
    return examples.collate([examples[0, i] for i in range(len(examples))])


TRAIN = ["dog", "cat", "ape", "cat", "dog", "dog"]


# ------------------------------------------------------------------ classes


def test_classes_are_those_of_training_sorted_and_kept(tmp_path: Path) -> None:
    task, model = prepared(toy(TRAIN, ["eel"]))
    assert task.labels.names == ("ape", "cat", "dog")
    assert [task.labels.number(name) for name in ("cat", "eel")] == [1, UNSEEN]
    assert model.heads["label"].proj.out_features == 3
    task.save(tmp_path)
    assert ClassificationTask.load(task.run, tmp_path).labels.names == task.labels.names
    (tmp_path / "labels.json").write_text('{"labels": ["a", "a"]}')
    with pytest.raises(UserError, match=r"labels\.json: labels should be a list of different names"):
        Labels.load(tmp_path)


@pytest.mark.parametrize(
    ("labels", "said"),
    [(["cat"] * 3, "all 3 samples are 'cat'"), ([], "no samples"), (["cat", ("cat", "dog")], "train-1 has 2 labels")],
)
def test_what_are_no_classes_is_refused(labels: list, said: str) -> None:
    with pytest.raises(UserError, match=said):
        prepared(toy(labels, []))


def test_another_number_of_classes_is_refused() -> None:
    with pytest.raises(UserError, match=r"model\.heads\.label\.num_classes is 2, but the training data has 3 classes"):
        prepared(toy(TRAIN, []), **{"model.heads.label.num_classes": 2})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"task.image": "text"}, "unknown image tower 'text'"),
        ({"task.head": "text"}, "unknown label head 'text'"),
        ({"data.image.height": 30}, "30 is not a whole number of patches"),
    ],
)
def test_models_that_cannot_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config("classifier-tiny", change)


def test_other_labels_are_other_data() -> None:
    def digest(labels: list[str]) -> dict[str, object]:
        source = toy(labels, [])
        examples = prepared(source)[0].examples(source.splits["train"], train=True)
        return data_digest(examples.lengths, examples.answers)

    assert digest(TRAIN) == digest(TRAIN) != digest(TRAIN[::-1])


# ------------------------------------------------------------------ loss


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [{}, {"dog": 0.5, "ape": 3.0}])
def test_the_loss_is_torchs(smoothing: float, weights: dict[str, float]) -> None:
    source = toy(TRAIN, [])
    task, model = prepared(source, **{"task.label_smoothing": smoothing, "task.class_weights": weights})
    model.train()
    batch = batch_of(task, source.splits["train"])
    ours = task.loss(model, batch)
    scores = model(batch.inputs).heads["label"]
    target = torch.tensor([2, 1, 0, 1, 2, 2])
    given = torch.tensor([weights.get(name, 1.0) for name in ("ape", "cat", "dog")])
    theirs = F.cross_entropy(scores, target, given, label_smoothing=smoothing)
    assert torch.equal(batch.targets["label"], target)
    torch.testing.assert_close(ours.total / ours.count, theirs)
    assert ours.count == pytest.approx(float(given[target].sum()))


def test_a_weight_for_no_class_is_refused() -> None:
    with pytest.raises(UserError, match=r"task\.class_weights: no class .* named 'catt'; did you mean 'cat'\?"):
        prepared(toy(TRAIN, []), **{"task.class_weights": {"catt": 2.0}})


def test_a_batch_of_bad_pictures_has_no_part_and_no_nan() -> None:
    source = toy(TRAIN, ["dog"], broken=0)
    task, model = prepared(source)
    batch = batch_of(task, source.splits["val"])
    assert (batch.ids, len(batch.bad)) == ((), 1)
    out = task.loss(model.train(), batch)
    assert (out.total.item(), out.count.item()) == (0.0, 0)
    out.total.backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


def test_rehearsals_are_the_loss_of_a_full_batch() -> None:
    task, model = prepared(toy(TRAIN, []))
    run = task.run
    batch = ClassificationTask.full_batch(run, 5)
    loss = task.loss(model, batch)
    torch.testing.assert_close(ClassificationTask.rehearse(run, model, batch), loss.total / loss.count)
    assert batch.inputs["image"][0].shape == (5, 3, 16, 16)
    with pytest.raises(UserError, match="says nothing token by token"):
        ClassificationTask.rehearse_generation(run, model, batch)


# ------------------------------------------------------------------ evaluation and prediction


def test_evaluation_is_that_of_plain_loops() -> None:
    val = ["cat", "dog", "ape", "eel", "dog", "Dog", "cat"]
    source = toy(TRAIN, val, broken=4)
    task, model = prepared(source)
    out = task.evaluate(model, source, "val", None, "cpu")
    truths = [name for i, name in enumerate(val) if i != 4]
    with torch.no_grad():
        chances = model(batch_of(task, source.splits["val"]).inputs).heads["label"].softmax(-1)
    said = [("ape", "cat", "dog")[int(row.argmax())] for row in chances]
    assert [p.text for p in out.predictions] == said
    assert [p.references for p in out.predictions] == [(t,) for t in truths]
    right = [one == other for one, other in zip(said, truths, strict=True)]
    assert [p.correct for p in out.predictions] == right
    assert out.metrics["accuracy"] == pytest.approx(sum(right) / 6)
    assert out.metrics["accuracy_even"] == pytest.approx((right[0] + right[2] + right[5]) / 3)
    assert out.metrics["unseen_labels"] == 2
    known = [-float(chances[i, ("ape", "cat", "dog").index(t)].log()) for i, t in enumerate(truths) if t in TRAIN]
    assert out.metrics["loss"] == pytest.approx(sum(known) / 4, rel=1e-5)
    assert "top5_accuracy" not in out.metrics
    assert (out.count, [b.id for b in out.bad]) == (6, ["val-4"])
    confusion = out.confusion
    assert confusion is not None
    assert confusion.truths == ("ape", "cat", "dog", "Dog", "eel")
    assert confusion.counts.sum() == 6
    assert confusion.counts[4, ("ape", "cat", "dog").index(said[3])] == 1
    assert task.evaluate(model, source, "val", 2, "cpu").count == 2


def test_classes_that_are_all_unseen_are_all_wrong() -> None:
    source = toy(TRAIN, ["x", "y"])
    task, model = prepared(source)
    metrics = task.evaluate(model, source, "val", None, "cpu").metrics
    assert (metrics["accuracy"], metrics["unseen_labels"], metrics["loss"]) == (0.0, 2.0, float("inf"))


def test_a_split_of_bad_pictures_has_every_metric() -> None:
    task, model = prepared(toy(TRAIN, ["cat"], broken=0))
    out = task.evaluate(model, toy(TRAIN, ["cat"], broken=0), "val", None, "cpu")
    assert (out.count, len(out.bad)) == (0, 1)
    nothing = {"accuracy": 0.0, "calibration_error": 0.0, "f1_macro": 0.0, "f1_micro": 0.0, "auroc": 0.5}
    assert out.metrics == {"loss": float("inf"), **nothing}


def test_predictions_have_their_likeliest_classes() -> None:
    source = toy([*TRAIN, "fox", "gnu", "hen", "ibis"], [])
    task, model = prepared(source)
    pictures = [torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8) for _ in range(3)]
    found = task.predict(model, [Query(str(i), p) for i, p in enumerate(pictures)], "cpu")
    with torch.no_grad():
        chances = model({"image": torch.stack(pictures)}).heads["label"].softmax(-1)
    for row, one in enumerate(found):
        values, order = chances[row].topk(5)
        assert [name for name, _ in one.choices] == [task.labels.names[i] for i in order.tolist()]
        assert [share for _, share in one.choices] == pytest.approx(values.tolist(), rel=1e-4)
        assert (one.id, one.text) == (str(row), one.choices[0][0])
        assert np.exp(one.score) == pytest.approx(one.choices[0][1])
    assert task.predict(model, [], "cpu") == []
    with pytest.raises(UserError, match="reads no text"):
        task.predict(model, [Query("a", pictures[0], "what is it?")], "cpu")
    with pytest.raises(UserError, match="name at least one picture"):
        task.predict(model, [Query("a")], "cpu")


def test_top5_is_given_where_there_are_more_than_five() -> None:
    names = list("abcdef")
    source = toy(names, names)
    task, model = prepared(source)
    out = task.evaluate(model, source, "val", None, "cpu")
    last = [min(range(6), key=lambda i, p=p: dict(p.choices).get(names[i], -1.0)) for p in out.predictions]
    assert out.metrics["top5_accuracy"] == pytest.approx(sum(i != k for k, i in enumerate(last)) / 6)


# ------------------------------------------------------------------ a whole run, and presets

SMALL = TOY | {
    "data.image.height": 32,
    "data.image.width": 32,
    "model.image.image_size": [32, 32],
    "data.scenes.train": 48,
    "data.scenes.val": 12,
    "data.scenes.test": 8,
    "data.batch.size": 16,
    "train.steps": 3,
    "train.schedule.warmup": 1,
    "train.threads": 1,
}


def test_a_run_on_the_scenes(tmp_path: Path) -> None:
    result = patchword.train("classifier-tiny", tmp_path / "run", **SMALL)
    assert 0 <= result.metrics["accuracy"] <= 1
    page = (tmp_path / "run" / "report.html").read_text()
    assert "What was taken for what" in page
    trained = patchword.load(tmp_path / "run")
    assert (tmp_path / "run" / "model" / "labels.json").is_file()
    measured = trained.evaluate(split="novel")
    assert measured.count == 8
    assert measured.confusion is not None
    [said] = trained.predict(np.zeros((40, 50, 3), dtype=np.uint8))
    assert said.text in trained.task.labels.names  # type: ignore[attr-defined]


def test_scenes_have_one_class_each() -> None:
    config = DataConfig(scenes=ScenesConfig(train=30, val=2, test=2))
    split = open_source(config, ClassificationTaskConfig().fields).splits["train"]
    records = [split.record(i) for i in range(30)]
    assert all(set(record.texts) == {"label"} and len(record.texts["label"]) == 1 for record in records)
    assert len(Labels.of((record.texts["label"][0] for record in records), "scenes")) > 2


COUNTS = {
    "vit-tiny": 5_524_416 + 2 * (192 + 1),
    "vit-small": 21_665_664 + 2 * (384 + 1),
    "vit-base": 85_800_194,
    "ref/004-vit-base": 85_800_194,
    "ref/004-vit-linformer": 2_851_842,
}


def vit_body(dim: int, depth: int) -> int:
    """Hugging Face's ViTModel without pooler: patches, cls, 197 places, blocks of 4 maps and an MLP, norms."""
    block = 4 * (dim * dim + dim) + 2 * 4 * dim * dim + 5 * dim + 4 * dim
    return (3 * 16 * 16 * dim + dim) + dim + 197 * dim + depth * block + 2 * dim


@pytest.mark.parametrize("name", COUNTS)
def test_presets_have_exactly_the_published_parameters(name: str) -> None:
    run = load_config(name)
    with torch.device("meta"):
        model = planned_model(run).build()
    assert count_parameters(model) == COUNTS[name]
    if name != "ref/004-vit-linformer":
        tower = run.model.towers["image"]
        assert count_parameters(model.towers) == vit_body(tower.dim, tower.depth)


def test_vit_base_counts_of_the_literature() -> None:
    assert vit_body(768, 12) == 85_798_656
    run = load_config("vit-base", {"model.heads.label.num_classes": 1000})
    with torch.device("meta"):
        assert count_parameters(planned_model(run).build()) == 86_567_656
