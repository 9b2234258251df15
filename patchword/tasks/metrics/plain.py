"""Metrics that need no reference."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

from patchword.config import UserError
from patchword.tasks.metrics.words import caption_words

_LARGEST_MEAN = math.log(sys.float_info.max)


def distinct(candidates: Sequence[str]) -> dict[str, float]:
    """Number of captions that differ in their words, and its share of all captions (0 to 1; 0 for none)."""
    if isinstance(candidates, str):
        raise UserError("candidates is one string; give a list of captions, one a picture")
    number = len({tuple(caption_words(candidate)) for candidate in candidates})
    return {"distinct": number, "distinct_share": number / max(len(candidates), 1)}


def perplexity(total_nats: float, count: float) -> float:
    """exp(total_nats / count): `total_nats` is the negative log-likelihood summed over `count` tokens.

    Infinity, never NaN nor an error, when there is no token, when the sum is NaN and when the result is
    beyond a float: infinity is the worst perplexity, so nothing is ever chosen for it. Raises `UserError` for
    a negative or NaN count.
    """
    if not count >= 0:
        raise UserError(f"a perplexity over {count} tokens: the count must be 0 or more")
    mean = total_nats / count if count else math.inf
    return math.exp(mean) if mean < _LARGEST_MEAN else math.inf
