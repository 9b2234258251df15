"""Answers to questions, F1 and AUROC: examples worked by hand, and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from patchword.tasks.metrics import accuracy, answer_score, auroc, f1, normal_answer, vqa_accuracy

rng = np.random.default_rng(3)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("A  Red\tcar", "red car"),
        ("Two.", "2"),
        ("none", "0"),
        ("eleven", "eleven"),
        ("3.5 m.", "3.5 m"),
        ("1,000", "1000"),
        ("black-white", "black white"),
        ("black - white", "black white"),
        ("yes, it is", "yes it is"),
        ("dont know", "don't know"),
        ("the a an", ""),
        ("", ""),
        ("what?!", "what"),
        ("5 o'clock", "5 o'clock"),
    ],
)
def test_answers_as_they_are_compared(text: str, normal: str) -> None:
    assert normal_answer(text) == normal
    assert normal_answer(normal) == normal


@pytest.mark.parametrize(
    ("agree", "score"),
    # of ten people: leaving out one who agrees leaves agree - 1, else agree
    [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)],
)
def test_ten_answers(agree: int, score: float) -> None:
    answers = ["The Dog"] * agree + [f"cat {i}" for i in range(10 - agree)]
    assert answer_score("dog", answers) == pytest.approx(score, abs=1e-12)


@pytest.mark.parametrize(
    ("answers", "score"),
    [(["dog"], 1.0), (["cat"], 0.0), (["dog", "cat"], 0.5), (["dog", "dog"], 1.0), (["dog", "dog", "cat"], 2 / 3)],
)
def test_few_answers(answers: list[str], score: float) -> None:
    assert answer_score("dog", answers) == pytest.approx(score, abs=1e-12)


def test_the_mean_over_questions() -> None:
    assert vqa_accuracy(["dog", "cat"], [["dog"] * 10, ["cat"] + ["dog"] * 9]) == pytest.approx(0.65)
    assert vqa_accuracy([], []) == 0


def test_f1_by_hand() -> None:
    # a: 1 hit, said 2, true 1: 2/3; b: 0 hits; c: 1 hit, said 1, true 2: 2/3
    found = f1(["a", "a", "c"], ["a", "c", "c"])
    assert found == {"f1_macro": pytest.approx(2 / 3), "f1_micro": pytest.approx(2 / 3)}
    assert f1(["a", "b"], ["a", "zebra"])["f1_macro"] == pytest.approx(1 / 3), "a class nobody can say counts, too"
    assert f1([], []) == {"f1_macro": 0.0, "f1_micro": 0.0}


def test_auroc_by_hand() -> None:
    # of the pairs (right, wrong) one is in order, one is a tie, two are not
    high = np.array([0.9, 0.3, 0.3, 0.5])
    truth = np.array([1, 1, 0, 0])
    assert auroc(np.stack([1 - high, high], 1), truth) == pytest.approx((2 + 0.5 + 0) / 4)
    assert auroc(np.full((4, 2), 0.5), truth) == 0.5
    assert auroc(np.zeros((3, 2)), np.array([1, 1, 1])) == 0.5, "nothing to tell it from"
    assert auroc(np.zeros((0, 2)), np.zeros(0, np.int64)) == 0.5
    unseen = auroc(np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]]), np.array([0, 1, -1]))
    assert unseen == 1.0


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("digits", [1, 6])
def test_they_are_those_of_scikit_learn(classes: int, digits: int) -> None:
    for n in (classes, 50, 300):
        truth = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
        scores = np.round(rng.random((n, classes)) + 0.3 * np.eye(classes)[truth], digits) + 0.01  # many ties
        if classes == 2:
            scores[:, 0] = 2 - scores[:, 1]
        scores /= scores.sum(1, keepdims=True)
        said = scores.argmax(1)
        given = scores[:, 1] if classes == 2 else scores
        assert auroc(scores, truth) == pytest.approx(roc_auc_score(truth, given, multi_class="ovr"), abs=1e-12)
        found = f1(list(map(str, said)), list(map(str, truth)))
        for average in ("macro", "micro"):
            assert found[f"f1_{average}"] == pytest.approx(f1_score(truth, said, average=average), abs=1e-12)
        assert found["f1_micro"] == pytest.approx(accuracy(scores, truth), abs=1e-12)
