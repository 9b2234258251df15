"""CIDEr-D: do the candidate's n-grams carry the weight that they carry in the references?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from patchword.config import UserError
from patchword.tasks.metrics.words import paired_words

_MAX_ORDER = 4
_SCALE = 10.0

_Gram: TypeAlias = tuple[str, ...]
_Counts: TypeAlias = Counter[_Gram]


@dataclass(frozen=True)
class CiderD:
    """CIDEr-D from 0 to 10: a `mean` of 1.2 is what papers also print as 120."""

    mean: float
    scores: tuple[float, ...]
    """One a candidate, in the order given."""


@dataclass(frozen=True)
class _Vector:
    """TF-IDF weights of a caption's n-grams; `norms` holds one Euclidean norm an n-gram order."""

    weights: dict[_Gram, float]
    norms: list[float]
    length: int


def cider_d(candidates: Sequence[str], references: Sequence[Sequence[str]], *, sigma: float = 6.0) -> CiderD:
    """CIDEr-D of Vedantam et al. 2015 (arXiv:1411.5726), as coco-caption (pycocoevalcap) computes it.

    `references[i]` are the captions of the i-th picture, any number from 1; document frequencies are counted
    over these pictures, `sigma` (in words) is the width of the length penalty. Captions are cut by
    `caption_words`. An empty candidate scores 0, and so does every candidate when there is only one picture:
    an n-gram that all pictures share weighs nothing.

    Raises `UserError` for no candidates, differing lengths, a candidate without references, or sigma <= 0.
    """
    if not sigma > 0:
        raise UserError(f"sigma is {sigma}: it must be above 0")
    pictures = [
        (_counts(candidate), [_counts(reference) for reference in given])
        for candidate, given in paired_words(candidates, references)
    ]
    log_pictures = math.log(len(pictures))
    frequencies = Counter(gram for _, given in pictures for gram in set().union(*given))
    rarity = {gram: log_pictures - math.log(frequency) for gram, frequency in frequencies.items()}

    scores = []
    for candidate, given in pictures:
        vector = _vector(candidate, rarity, log_pictures)
        total = sum(_similarity(vector, _vector(counts, rarity, log_pictures), sigma) for counts in given)
        scores.append(_SCALE * total / len(given))
    return CiderD(mean=math.fsum(scores) / len(scores), scores=tuple(scores))


def _counts(words: list[str]) -> _Counts:
    orders = range(1, _MAX_ORDER + 1)
    return Counter(tuple(words[i : i + order]) for order in orders for i in range(len(words) - order + 1))


def _vector(counts: _Counts, rarity: dict[_Gram, float], unseen: float) -> _Vector:
    weights = {gram: count * rarity.get(gram, unseen) for gram, count in counts.items()}
    squares = [0.0] * _MAX_ORDER
    for gram, weight in weights.items():
        squares[len(gram) - 1] += weight * weight
    length = sum(count for gram, count in counts.items() if len(gram) == 1)
    return _Vector(weights, [math.sqrt(square) for square in squares], length)


def _similarity(candidate: _Vector, reference: _Vector, sigma: float) -> float:
    """Mean over the n-gram orders of the clipped cosine, times the Gaussian of the difference in length."""
    dots = [0.0] * _MAX_ORDER
    for gram, weight in candidate.weights.items():
        other = reference.weights.get(gram, 0.0)
        dots[len(gram) - 1] += min(weight, other) * other
    # An order in which either caption has no weight counts as 0.
    cosines = [dot / (a * b) for dot, a, b in zip(dots, candidate.norms, reference.norms) if a > 0 and b > 0]
    gap = (candidate.length - reference.length) / sigma
    return math.exp(-gap * gap / 2) * sum(cosines) / _MAX_ORDER
