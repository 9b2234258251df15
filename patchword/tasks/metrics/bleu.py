"""Corpus BLEU of captions, counted by sacrebleu."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from sacrebleu.metrics.bleu import BLEU

from patchword.config import UserError
from patchword.tasks.metrics.words import paired_words


def bleu(candidates: Sequence[str], references: Sequence[Sequence[str]], max_order: int = 4) -> dict[str, float]:
    """Corpus BLEU-1 to BLEU-`max_order` (Papineni et al. 2002) as `{"bleu1": ..., "bleu4": ...}`, 0 to 100.

    `references[i]` are the captions of the i-th picture, any number from 1. As the captioning literature
    does (coco-caption): captions cut by `caption_words`, the closest reference length, no smoothing and no
    effective order, so an order without a single match makes that BLEU 0.

    Raises `UserError` for no candidates, differing lengths, a candidate without references, or max_order < 1.
    """
    if max_order < 1:
        raise UserError(f"max_order is {max_order}: it must be at least 1")
    pairs = paired_words(candidates, references)
    # sacrebleu wants the references as streams (the first of every picture, the second, ...), None for none.
    streams = list(zip_longest(*([" ".join(words) for words in given] for _, given in pairs)))
    counter = BLEU(tokenize="none", max_ngram_order=max_order)
    found = counter.corpus_score([" ".join(words) for words, _ in pairs], streams)
    scores = {}
    for order in range(1, max_order + 1):
        score = BLEU.compute_bleu(
            found.counts,
            found.totals,
            found.sys_len,
            found.ref_len,
            smooth_method="none",
            effective_order=False,
            max_ngram_order=order,
        ).score
        scores[f"bleu{order}"] = min(score, 100.0)  # rounding puts a perfect corpus just above 100
    return scores
