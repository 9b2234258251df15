"""Metrics of classes. Scores are probabilities, float [n, C]; truth is the number of a class, or -1: none of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

BINS = 15
"""Bins of the calibration error, as in Guo et al. 2017."""


class Confusion(NamedTuple):
    """Which classes were taken for which."""

    labels: tuple[str, ...]
    """What can be said: a column each."""
    truths: tuple[str, ...]
    """What was true: a row each; first `labels`, then those that are none of them."""
    counts: np.ndarray
    """Samples, int [len(truths), len(labels)]."""


def accuracy(scores: np.ndarray, truth: np.ndarray) -> float:
    """Share of samples whose likeliest class is the true one (0 for no samples); of several, the first counts."""
    return top_accuracy(scores, truth, 1)


def top_accuracy(scores: np.ndarray, truth: np.ndarray, k: int) -> float:
    """Share of samples whose true class is among the `k` likeliest (0 for no samples).

    Classes that are equally likely rank in their order.
    """
    if not len(truth):
        return 0.0
    ranked = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float((ranked == truth[:, None]).any(1).mean())


def calibration_error(scores: np.ndarray, truth: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error (Naeini et al. 2015; Guo et al. 2017), 0 to 1; 0 for no samples.

    Samples are put into `bins` equal bins (lower, upper] by how likely they hold their answer; the gap between the
    mean of that and the share of right answers is averaged over all samples.
    """
    if not len(truth):
        return 0.0
    confidence = scores.max(1).astype(np.float64)
    right = (scores.argmax(1) == truth).astype(np.float64)
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(place, confidence - right, bins)  # (mean confidence - accuracy) x samples of the bin
    return float(np.abs(gaps).sum() / len(truth))


def confusion_of(said: Sequence[str], true: Sequence[str], labels: Sequence[str]) -> Confusion:
    """How often each class of `labels` was said of each true one; true classes beyond `labels` come last, sorted."""
    truths = (*labels, *sorted(set(true) - set(labels)))
    rows, columns = ({name: i for i, name in enumerate(names)} for names in (truths, labels))
    counts = np.zeros((len(truths), len(labels)), dtype=np.int64)
    for one, other in zip(true, said, strict=True):
        counts[rows[one], columns[other]] += 1
    return Confusion(tuple(labels), truths, counts)
