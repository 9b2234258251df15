"""What metrics are called, how they are written, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from patchword.report.amounts import percent, plain, whole


class Measure(NamedTuple):
    """How a metric is shown."""

    label: str
    """Its name for people."""
    write: Callable[[Any], str] = plain
    """Its value for people."""
    better: str = ""
    """Which way is better: higher, lower, or empty where that cannot be said."""
    meaning: str = ""
    """What it says, in one line."""
    curve: bool = True
    """Whether its course is worth a plot; not so where another metric has the same course."""
    headline: bool = True
    """Whether it may be among the first things said of a run."""


_MEASURES = {
    "scene_accuracy": Measure(
        "Scene accuracy",
        percent,
        "higher",
        "captions that name every object with its right attributes, and nothing else",
    ),
    "accuracy": Measure("Accuracy", percent, "higher", "answers that are right"),
    "top5_accuracy": Measure("Top-5 accuracy", percent, "higher", "the right answer is among the five likeliest"),
    "calibration_error": Measure(
        "Calibration error",
        percent,
        "lower",
        "how far the likelihood that it gives its answers is from how often they are right, 15 bins",
        headline=False,
    ),
    "unseen_labels": Measure(
        "Unseen labels", whole, "", "samples of a class that training lacked; each counts as wrong", headline=False
    ),
    "cider_d": Measure(
        "CIDEr-D", plain, "higher", "agreement with the references, rare phrases counting more, 0 to 10"
    ),
    "bleu4": Measure("BLEU-4", plain, "higher", "runs of up to 4 words that a reference also has, 0 to 100"),
    "bleu3": Measure("BLEU-3", plain, "higher", headline=False),
    "bleu2": Measure("BLEU-2", plain, "higher", headline=False),
    "bleu1": Measure("BLEU-1", plain, "higher", headline=False),
    "bleu": Measure("BLEU", plain, "higher", "runs of up to 4 words that a reference also has, 0 to 100"),
    "bleu_lowercase": Measure("BLEU in lower case", plain, "higher", curve=False, headline=False),
    "chrf": Measure("chrF", plain, "higher", "runs of up to 6 characters that a reference also has, 0 to 100"),
    "exact_match": Measure("Exact match", percent, "higher", "texts that equal a reference"),
    "cer": Measure("Character error rate", percent, "lower", "edits for each character of a reference", headline=False),
    "wer": Measure("Word error rate", percent, "lower", "edits for each word of a reference", headline=False),
    "perplexity": Measure(
        "Perplexity", plain, "lower", "how many tokens the model wavers between at each step", curve=False
    ),
    "masked_accuracy": Measure("Masked accuracy", percent, "higher", "hidden tokens whose likeliest guess is right"),
    "pseudo_perplexity": Measure(
        "Pseudo-perplexity", plain, "lower", "how many tokens the model wavers between where one is hidden", curve=False
    ),
    "pixel_error": Measure(
        "Pixel error", plain, "lower", "mean distance of hidden pixels from the guess, 0 to 255", curve=False
    ),
    "loss": Measure("Loss", plain, "lower", "negative log-likelihood of a reference's token, in nats"),
    "distinct": Measure(
        "Distinct captions", whole, "", "captions that differ in their words", curve=False, headline=False
    ),
    "distinct_share": Measure("Share of distinct captions", percent, "", "the same, of all captions", headline=False),
}
"""In the order in which they are shown: the most telling first."""

_HEADLINES = 3


def measure(name: str) -> Measure:
    """How to show a metric: a known one, one of a part (`scene_accuracy_2`), or any other under its own name.

    One of several tasks' (`captions.loss`) has the task's name before it.
    """
    task, name = _parted(name)
    if task:
        shown = measure(name)
        return shown._replace(label=f"{task}: {shown.label}")
    known = _known(name)
    if known is None:
        return Measure(_spoken(name).capitalize())
    shown = _MEASURES[known]
    return shown if name == known else shown._replace(label=f"{shown.label}, {_spoken(name[len(known) :])}", meaning="")


def ordered(names: Iterable[str]) -> list[str]:
    """Metric names, the most telling first, a part after its whole, unknown ones last as they came."""
    ranks = {name: rank for rank, name in enumerate(_MEASURES)}

    def place(name: str) -> tuple[int, bool]:
        return ranks.get(_known(name) or "", len(ranks)), _parted(name)[1] not in _MEASURES

    return sorted(names, key=place)


def headlines(names: Iterable[str]) -> list[str]:
    """The few metrics that say most; parts of a metric are not among them."""
    wholes = (name for name in ordered(names) if _known(name) in (_parted(name)[1], None))
    return [name for name in wholes if measure(name).headline][:_HEADLINES]


def _parted(name: str) -> tuple[str, str]:
    """The task of a metric, empty where there is one task, and the metric."""
    task, _, metric = name.rpartition(".")
    return task, metric


def _known(name: str) -> str | None:
    name = _parted(name)[1]
    if name in _MEASURES:
        return name
    return next((known for known in _MEASURES if name.startswith(f"{known}_")), None)


def _spoken(name: str) -> str:
    return name.replace("_", " ").strip()
