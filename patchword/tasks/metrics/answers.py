"""Metrics of answers to questions about pictures, several people's answers to each."""

from __future__ import annotations

import re
from collections.abc import Sequence

_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_ARTICLES = {"a", "an", "the"}
_NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
} | {"none": "0"}
_CONTRACTED = (
    "ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's i'm "
    "i've isn't it'd it'll ma'am might've mightn't must've mustn't needn't o'clock oughtn't shan't should've shouldn't "
    "that's there'd there're there's they'd they'll they're they've wasn't we've weren't what'll what're what's "
    "what've when's where'd where's where've who'd who'll who's who've why'll why're why's won't would've wouldn't "
    "y'all you'd you'll you're you've"
)
_CONTRACTIONS = {word.replace("'", ""): word for word in _CONTRACTED.split()}
_PERIOD = re.compile(r"\.(?!\d)")
_GROUPED = re.compile(r"\d,\d")
_AGREED = 3
"""So many people who say it make an answer right."""


def normal_answer(text: str) -> str:
    """An answer as it is compared: how VQA's own evaluation writes it (Antol et al. 2015).

    Lower case; marks beside a blank vanish, others become one (all vanish where a comma groups digits); periods vanish
    that are no decimal points; numbers up to ten are digits; articles vanish; contractions have their apostrophe.
    """
    text = " ".join(text.split())
    grouped = _GROUPED.search(text) is not None
    cleaned = text
    for mark in _MARKS:
        beside = mark + " " in text or " " + mark in text
        cleaned = cleaned.replace(mark, "" if beside or grouped else " ")
    words = [_NUMBERS.get(word, word) for word in _PERIOD.sub("", cleaned).lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def answer_score(said: str, answers: Sequence[str]) -> float:
    """How right an answer is, 0 to 1, given what several people say (Antol et al. 2015).

    min(people who say it / 3, 1), averaged over leaving out each of them in turn. Where others are fewer than three,
    all of these have to say it; of a single person's answer, whether it is the same.
    """
    same = [normal_answer(said) == normal_answer(answer) for answer in answers]
    if len(same) == 1:
        return float(same[0])
    needed = min(_AGREED, len(same) - 1)
    return sum(min((sum(same) - own) / needed, 1.0) for own in same) / len(same)


def vqa_accuracy(said: Sequence[str], answers: Sequence[Sequence[str]]) -> float:
    """The mean of `answer_score` over questions; 0 for none."""
    scores = [answer_score(one, several) for one, several in zip(said, answers, strict=True)]
    return sum(scores) / len(scores) if scores else 0.0
