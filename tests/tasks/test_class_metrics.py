"""Metrics of classes, against hand-worked examples, plain loops and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, top_k_accuracy_score

from patchword.tasks.metrics import accuracy, calibration_error, confusion_of, top_accuracy


def random_scores(seed: int, count: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    scores = random.dirichlet(np.full(classes, 0.5), count)
    return scores, random.integers(-1, classes, count)


def test_accuracy_by_hand() -> None:
    scores = np.array([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4], [0.3, 0.3, 0.4], [0.4, 0.4, 0.2]])
    assert accuracy(scores, np.array([0, 2, 2, 0])) == 0.75  # of a tie the first counts
    assert accuracy(scores, np.array([0, 2, -1, 1])) == 0.25  # a class that there is not is never right
    assert top_accuracy(scores, np.array([1, 2, 0, 1]), 2) == 1.0
    assert top_accuracy(scores, np.array([2, 0, 1, 2]), 2) == 0.0
    assert top_accuracy(scores, np.array([2, 0, 1, -1]), 3) == 0.75


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_accuracy_is_that_of_a_plain_loop(seed: int, k: int) -> None:
    scores, truth = random_scores(seed, 50, 7)
    ranks = [sorted(range(7), key=lambda c, row=row: (-row[c], c))[:k] for row in scores]
    assert top_accuracy(scores, truth, k) == pytest.approx(np.mean([t in r for t, r in zip(truth, ranks, strict=True)]))


def test_calibration_error_by_hand() -> None:
    # bins of 0.5: two samples at 0.9 and 0.7 of which one is right, two at 0.5 of which both are right
    scores = np.array([[0.9, 0.1], [0.3, 0.7], [0.5, 0.5], [0.5, 0.5]])
    truth = np.array([0, 0, 0, 0])
    expected = (2 * abs(0.8 - 0.5) + 2 * abs(0.5 - 1.0)) / 4
    assert calibration_error(scores, truth, bins=2) == pytest.approx(expected)
    assert calibration_error(np.eye(3), np.arange(3)) == 0.0
    assert calibration_error(np.eye(3), np.array([1, 2, 0])) == 1.0
    assert calibration_error(np.eye(3), np.array([-1, -1, -1])) == 1.0


@pytest.mark.parametrize("seed", range(4))
def test_calibration_error_is_that_of_the_paper(seed: int) -> None:
    scores, truth = random_scores(seed, 200, 4)
    total = 0.0
    for m in range(15):
        rows = [i for i in range(200) if m / 15 < scores[i].max() <= (m + 1) / 15]
        if rows:
            right = sum(scores[i].argmax() == truth[i] for i in rows) / len(rows)
            mean = math.fsum(scores[i].max() for i in rows) / len(rows)
            total += len(rows) / 200 * abs(right - mean)
    assert calibration_error(scores, truth) == pytest.approx(total)


def test_no_samples() -> None:
    scores, truth = np.zeros((0, 3)), np.zeros(0, dtype=np.int64)
    assert accuracy(scores, truth) == top_accuracy(scores, truth, 2) == calibration_error(scores, truth) == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_they_are_those_of_scikit_learn(seed: int) -> None:
    scores, _ = random_scores(seed, 80, 6)
    truth = np.random.default_rng(seed + 9).integers(0, 6, 80)
    said = scores.argmax(1)
    assert accuracy(scores, truth) == pytest.approx(accuracy_score(truth, said))
    for k in (2, 3, 5):
        assert top_accuracy(scores, truth, k) == pytest.approx(top_k_accuracy_score(truth, scores, k=k))
    names = list("abcdef")
    found = confusion_of([names[i] for i in said], [names[i] for i in truth], names)
    assert found.truths == tuple(names)
    assert found.counts.tolist() == confusion_matrix(truth, said, labels=range(6)).tolist()


def test_confusion_by_hand() -> None:
    found = confusion_of(["a", "b", "a", "a", "b"], ["a", "a", "b", "z", "y"], ["a", "b"])
    assert found.truths == ("a", "b", "y", "z")
    assert found.counts.tolist() == [[1, 1], [1, 0], [0, 1], [1, 0]]
    assert confusion_of([], [], ["a", "b"]).counts.tolist() == [[0, 0], [0, 0]]
