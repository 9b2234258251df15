"""Questions about pictures: what is asked, which answers there are, who sees whom, and how good answers are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from toy_sources import ToySource, ToySplit

import patchword
from patchword.config import (
    ConfigError,
    Fields,
    GenerativeVQATaskConfig,
    TaskConfig,
    UserError,
    VQATaskConfig,
)
from patchword.data.base import Record
from patchword.models.model import Model
from patchword.models.presets import load_config
from patchword.sequence import ImageInput, TextInput
from patchword.tasks.base import Prediction, Query
from patchword.tasks.labels import UNSEEN
from patchword.tasks.vqa import GenerativeVQATask, VQATask, kind_of, questions

TOY = {
    "model.image.dim": 32,
    "model.image.depth": 1,
    "model.image.stem": [],
    "model.image.patch_size": [8, 8],
    "model.image.image_size": [16, 16],
    "model.question.dim": 32,
    "model.trunk.dim": 32,
    "model.trunk.depth": 1,
    "data.image.height": 16,
    "data.image.width": 16,
}
DIGITS = {
    "model.image.image_size": [16, 16],
    "model.image.patch_size": [8, 8],
    "model.image.dim": 24,
    **{f"model.{name}.dim": 32 for name in ("text", "question", "trunk")},
    "data.image.height": 16,
    "data.image.width": 16,
}
Rows = Sequence[tuple[str, str, str]]


def toy_split(name: str, rows: Sequence[Rows | str]) -> ToySplit:
    """Pictures, each with (question, answer, kind) rows, or with a label."""
    fields = "question", "answer", "question_type"
    texts = [{"label": (r,)} if isinstance(r, str) else dict(zip(fields, zip(*r), strict=True)) for r in rows]
    return ToySplit(name, texts)


def toy(**splits: Sequence[Rows | str]) -> ToySource:
    """Such pictures, all of one group."""
    return ToySource(*(toy_split(name, rows) for name, rows in splits.items()), group=lambda _: "toys")


TRAIN: list[Rows] = [
    [
        ("what is it ?", "dog", ""),
        ("what is it ?", "Dog", ""),
        ("what is it ?", "dog", ""),
        ("is it a cat ?", "no", "b"),
    ],
    [("what is it ?", "cat", ""), ("is it a cat ?", "yes", "b"), ("is it a dog ?", "no", "b")],
]


def prepared(**changes: object) -> tuple[VQATask, Model]:
    task = VQATask.prepare(load_config("vqa-tiny", {**TOY, **changes}), toy(train=TRAIN))
    torch.manual_seed(0)
    return task, task.model_config().build().eval()


# ------------------------------------------------------------------ what is asked


def test_neighbours_with_one_question_are_one_question() -> None:
    asked = questions(VQATaskConfig(question="q"), toy_split("train", TRAIN).record(0))
    assert [(a.reads, a.answers, a.group) for a in asked] == [
        ({"q": "what is it ?"}, ("dog", "Dog", "dog"), "what_is"),
        ({"q": "is it a cat ?"}, ("no",), "b"),
    ]
    kinds = {"What color?!": "what_color", "is it red?": "is", "how": "how", "white what?": "other", "": "other"}
    assert {question: kind_of(question) for question in kinds} == kinds


def test_one_question_about_every_picture() -> None:
    config = GenerativeVQATaskConfig(ask="Which digit?", answer="The digit is {}.")
    assert config.fields == Fields(("label",))
    [asked] = questions(config, Record("a", {"label": ("7",)}))
    assert (asked.reads, asked.answers) == ({"question": "Which digit?"}, ("The digit is 7.",))
    with pytest.raises(UserError, match="a has 2 labels"):
        questions(config, Record("a", {"label": ("7", "8")}))
    assert VQATaskConfig().fields == Fields(("question", "answer"), ("question_type",))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task.answer": "yes"}, r"task\.answer: should have one \{\}"),
        ({"task.num_answers": 1}, "1 leaves nothing to choose from"),
        ({"task.question": "image"}, r"task\.question: unknown text tower 'image'"),
        ({"task.image": "question"}, "unknown image tower 'question'"),
        ({"task.kind": "generative_vqa"}, "unknown language head 'text'"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config("vqa-tiny", changes)


@pytest.mark.parametrize("kind", ["vqa", "generative_vqa"])
def test_kinds_have_defaults(kind: str) -> None:
    assert "answer" in cast(TaskConfig, TaskConfig.kinds[kind]()).fields.required


# ------------------------------------------------------------------ answers of training


def test_answers_are_those_of_training(tmp_path: Path) -> None:
    task, model = prepared()
    assert task.labels.names == ("cat", "dog", "no", "yes"), "what most say is what is learnt"
    assert model.heads["label"].proj.out_features == 4
    task.save(tmp_path)
    again = VQATask.load(task.run, tmp_path)
    assert again.labels.names == task.labels.names
    few, _ = prepared(**{"task.num_answers": 2})
    assert few.labels.names == ("cat", "no"), "the most frequent; of equally frequent ones the first"
    examples = few.examples(toy_split("train", TRAIN), train=True)
    assert len(examples) == 3, "what cannot be said is not learnt"
    assert UNSEEN not in examples.answers


def test_unseen_answers_are_wrong_and_counted() -> None:
    task, model = prepared()
    val: list[Rows] = [[("what is it ?", "eel", ""), ("is it a cat ?", "no", "b")], [("what is it ?", "dog", "")]]
    found = task.evaluate(model, toy(val=val), "val", None, "cpu")
    assert found.count == 3
    assert found.metrics["unseen_labels"] == 1
    assert not found.predictions[0].correct
    assert {"accuracy_what_is", "accuracy_b"} <= found.metrics.keys()
    assert "vqa_accuracy" not in found.metrics, "everybody asked one person"
    right = [p.correct for p in found.predictions]
    assert found.metrics["accuracy"] == pytest.approx(sum(map(bool, right)) / 3)


def test_several_answers_are_judged_as_vqa_does() -> None:
    task, model = prepared()
    answers = ["dog"] * 2 + ["cat"] * 8
    rows: list[Rows] = [[("what is it ?", answer, "") for answer in answers]]
    found = task.evaluate(model, toy(val=rows), "val", None, "cpu")
    [prediction] = found.predictions
    assert prediction.references == tuple(answers)
    assert found.metrics["vqa_accuracy"] == pytest.approx({"dog": 0.6, "cat": 1.0}.get(prediction.text, 0.0))


def test_the_answer_depends_on_picture_and_question() -> None:
    task, model = prepared()
    pictures = [torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8) for _ in range(2)]
    asked = [Query("a", pictures[0], "what is it ?"), Query("b", pictures[1], "what is it ?")]
    one, other = task.predict(model, asked, "cpu")
    third = task.predict(model, [Query("c", pictures[0], "is it a cat ?")], "cpu")[0]
    assert one.score != other.score
    assert one.score != third.score
    assert task.predict(model, asked[1:], "cpu")[0].score == pytest.approx(other.score, abs=1e-6)
    with pytest.raises(UserError, match="say the question: --text TEXT"):
        task.predict(model, [Query("a", pictures[0])], "cpu")
    blind, _ = prepared(**{"task.blank": True})
    same = blind.predict(model, asked, "cpu")
    assert same[0].score == same[1].score


# ------------------------------------------------------------------ answers in words


def digits(**changes: object) -> tuple[GenerativeVQATask, Model]:
    run = load_config("ref/000", {**DIGITS, **changes})
    task = GenerativeVQATask.prepare(run, toy(train=["7", "1", "3"]))
    torch.manual_seed(0)
    return task, task.model_config().build().double().eval()


@torch.no_grad()
def test_picture_and_question_see_one_another_and_the_answer_is_causal() -> None:
    _, model = digits()
    ids = torch.tensor([[1, 9, 8, 7, 2], [1, 6, 5, 2, 0]])
    said = torch.tensor([[1, 5, 6, 7], [1, 8, 9, 4]])
    pixels = torch.rand(2, 3, 16, 16, dtype=torch.float64)

    def scores(ids: torch.Tensor, said: torch.Tensor, pixels: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        inputs = {"image": ImageInput(pixels), "question": TextInput(ids, valid), "text": said}
        return model(inputs).heads["text"]

    valid = ids != 0
    before = scores(ids, said, pixels, valid)
    changed = said.clone()
    changed[:, 2] = 3
    after = scores(ids, changed, pixels, valid)
    assert torch.equal(after[:, :2], before[:, :2])
    assert (after[:, 2:] - before[:, 2:]).abs().amax((1, 2)).min() > 1e-6
    question = ids.clone()
    question[0, 3] = 4
    moved = (scores(question, said, pixels, valid) - before).abs().amax((1, 2))
    assert moved[0] > 1e-6
    assert moved[1] == 0, "rows do not hear one another"
    picture = pixels.clone()
    picture[1, :, 15, 15] += 1
    moved = (scores(ids, said, picture, valid) - before).abs().amax((1, 2))
    assert moved[1] > 1e-6
    assert moved[0] == 0
    padded = ids.clone()
    padded[1, 4] = 11
    assert torch.equal(scores(padded, said, pixels, valid), before), "padding is not read"
    shorter = scores(ids[1:, :4], said[1:], pixels[1:], valid[1:, :4])
    assert (shorter - before[1:]).abs().max() < 1e-12
    # the picture's own tokens depend on the question: the prefix is seen in both directions
    parts = model.encode({"image": ImageInput(pixels), "question": TextInput(ids, valid), "text": said})
    assert model.fusion is not None
    assert model.trunk is not None
    fused = model.fusion(parts)
    whole = model.trunk(fused.tokens)
    parts = model.encode({"image": ImageInput(pixels), "question": TextInput(question, valid), "text": said})
    assert (model.trunk(model.fusion(parts).tokens) - whole)[0, 0].abs().max() > 1e-6


def test_answers_in_words_are_judged() -> None:
    task, _ = digits()
    source = toy(val=["7"])
    raw = [
        Prediction("a", "the digit is 7", ("The digit is 7",), group="x"),
        Prediction("b", "digit is seven", ("The digit is 7",), group="y"),
        Prediction("c", "the digit is 1", ("The digit is 7",)),
    ]
    marked = [task.marked(p, source, "val", 0) for p in raw]
    assert [p.correct for p in marked] == [True, True, False], "as VQA's own evaluation writes answers"
    assert task.judge(marked) == pytest.approx(
        {"accuracy": 2 / 3, "accuracy_x": 1.0, "accuracy_y": 1.0, "accuracy_toys": 0.0}
    )
    several = [Prediction("a", "dog", ("dog", "cat"), correct=True)]
    assert task.judge(several) == {"accuracy": 1.0, "vqa_accuracy": 0.5}


def test_a_digit_is_said() -> None:
    task, model = digits(**{"task.decode.max_len": 6})
    found = task.evaluate(model.float(), toy(val=["7", "1"]), "val", None, "cpu")
    assert found.count == 2
    assert {"loss", "perplexity", "accuracy"} <= found.metrics.keys()
    assert found.predictions[0].references == ("The digit is 7",)
    [said] = task.predict(model, [Query("q", torch.zeros(3, 16, 16, dtype=torch.uint8), "Which digit?")], "cpu")
    assert said.score is not None


def test_more_entries_than_scores_are_refused() -> None:
    with pytest.raises(UserError, match="vocab_size 7 is less than the tokenizer's"):
        digits(**{"model.text.vocab_size": 7})


# ------------------------------------------------------------------ captions that may be wrong


def test_matching_is_judged_without_regard_to_shares(tmp_path: Path) -> None:
    small: dict[str, Any] = {name.replace("question", "caption"): value for name, value in TOY.items()}
    small |= {"data.image.height": 32, "data.image.width": 32, "model.image.image_size": [32, 32]}
    sizes: dict[str, Any] = {"data.scenes.train": 60, "data.scenes.val": 20, "data.batch.size": 8, "train.steps": 3}
    sizes |= {"train.threads": 1}
    run = patchword.train("matcher-tiny", tmp_path / "run", report=False, **(small | sizes))
    assert {"accuracy", "f1_macro", "f1_micro", "auroc"} <= run.metrics.keys()
    assert run.metrics["f1_micro"] == pytest.approx(run.metrics["accuracy"])
    assert 0 <= run.metrics["auroc"] <= 1
