"""Metrics of generated text and of classes; `caption_words` cuts captions into words, sacrebleu translations."""

from __future__ import annotations

from patchword.tasks.metrics.answers import answer_score, normal_answer, vqa_accuracy
from patchword.tasks.metrics.bleu import bleu
from patchword.tasks.metrics.cider import CiderD, cider_d
from patchword.tasks.metrics.classes import Confusion, accuracy, calibration_error, confusion_of, top_accuracy
from patchword.tasks.metrics.detection import auroc, f1
from patchword.tasks.metrics.edits import edit_distances, edit_rates, exact_match
from patchword.tasks.metrics.plain import distinct, perplexity
from patchword.tasks.metrics.translation import translation_scores
from patchword.tasks.metrics.words import caption_words

__all__ = [
    "CiderD",
    "Confusion",
    "accuracy",
    "answer_score",
    "auroc",
    "bleu",
    "calibration_error",
    "caption_words",
    "cider_d",
    "confusion_of",
    "distinct",
    "edit_distances",
    "edit_rates",
    "exact_match",
    "f1",
    "normal_answer",
    "perplexity",
    "top_accuracy",
    "translation_scores",
    "vqa_accuracy",
]
