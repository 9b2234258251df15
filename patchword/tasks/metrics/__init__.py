"""Metrics of generated text, in plain Python; every caption is cut into words by `caption_words`."""

from __future__ import annotations

from patchword.tasks.metrics.bleu import bleu
from patchword.tasks.metrics.cider import CiderD, cider_d
from patchword.tasks.metrics.plain import distinct, perplexity
from patchword.tasks.metrics.words import caption_words

__all__ = ["CiderD", "bleu", "caption_words", "cider_d", "distinct", "perplexity"]
