"""Metrics that do not let common classes outvote rare ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np


def f1(said: Sequence[str], true: Sequence[str]) -> dict[str, float]:
    """F1, the harmonic mean of precision and recall: 2 hits / (times said + times true); 0 for no samples.

    `f1_macro` is the mean over all classes that were said or true, `f1_micro` that of all samples together (where each
    sample has one class and gets one answer, the accuracy).
    """
    hits = Counter(one for one, other in zip(said, true, strict=True) if one == other)
    times_said, times_true = Counter(said), Counter(true)
    classes = times_said.keys() | times_true.keys()
    each = [2 * hits[name] / (times_said[name] + times_true[name]) for name in classes]
    micro = hits.total() / len(said) if said else 0.0
    return {"f1_macro": sum(each) / len(each) if each else 0.0, "f1_micro": micro}


def auroc(scores: np.ndarray, truth: np.ndarray) -> float:
    """Area under the receiver operating characteristic, one class against the rest, the mean over classes.

    It is the chance that a sample of the class scores higher than one of another class; equal scores count half.
    Classes that all samples are of, or none, have no part; 0.5 where there is no other.

    Args:
        scores: of each class, float [n, C].
        truth: the right class, int [n]; -1: none of them.
    """
    areas = []
    for number, own in enumerate(scores.T):
        right = truth == number
        positive, negative = int(right.sum()), int((~right).sum())
        if positive and negative:
            won = _mean_ranks(own)[right].sum() - positive * (positive + 1) / 2
            areas.append(won / (positive * negative))
    return float(np.mean(areas)) if areas else 0.5


def _mean_ranks(values: np.ndarray) -> np.ndarray:
    """The rank of each value from 1, equal ones all having the mean of theirs; float64 [n]."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[place]
