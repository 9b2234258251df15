"""BLEU and chrF of translations, counted and cut into words by sacrebleu: figures that papers compare."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from patchword.tasks.metrics.words import checked_pairs


def translation_scores(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """`bleu`, `bleu_lowercase` and `chrf` of a corpus, 0 to 100.

    BLEU-4 (Papineni et al. 2002) is sacrebleu's default (Post 2018): words as `13a` cuts them, exponential smoothing,
    the closest reference length; `bleu_lowercase` is the same with all texts in lower case, which a model of lower-case
    text is judged by. chrF is chrF2 (Popovic 2015): six characters, no words. A candidate of no words counts as such.

    Raises:
        UserError: no candidates, differing lengths, or a candidate without references.
    """
    checked_pairs(candidates, references)
    said = list(candidates)
    streams = list(zip_longest(*references))  # the first of every text, the second, ...; None for none
    return {
        "bleu": BLEU().corpus_score(said, streams).score,
        "bleu_lowercase": BLEU(lowercase=True).corpus_score(said, streams).score,
        "chrf": CHRF().corpus_score(said, streams).score,
    }
