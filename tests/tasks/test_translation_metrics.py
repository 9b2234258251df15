"""Metrics of translations: against jiwer and sacrebleu's own command, and worked out by hand."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import jiwer
import pytest

from patchword.config import UserError
from patchword.tasks.metrics import edit_distances, edit_rates, exact_match, translation_scores

WORDS = "a the two dog dog's cat red t-shirt Runs, jumps on in grass. Straße ЁЖИК 3.5"


def corpus(seed: int, size: int, references: int = 1) -> tuple[list[str], list[list[str]]]:
    rng = random.Random(seed)

    def text(shortest: int) -> str:
        return " ".join(rng.choices(WORDS.split(), k=rng.randint(shortest, 9)))

    given = [[text(1) for _ in range(references)] for _ in range(size)]
    said = [rng.choice([rng.choice(texts), rng.choice(texts)[2:-3], text(0)]) for texts in given]
    return said, given


def by_definition(a: Sequence[str], b: Sequence[str]) -> int:
    """The fewest edits, said as the definition says it."""

    @cache
    def fewest(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        same = fewest(i - 1, j - 1) + (a[i - 1] != b[j - 1])
        return min(same, fewest(i - 1, j) + 1, fewest(i, j - 1) + 1)

    return fewest(len(a), len(b))


def test_distances_are_those_of_the_definition():
    rng = random.Random(1)
    pairs = [
        ("".join(rng.choices("abc", k=rng.randint(0, 9))), "".join(rng.choices("abc", k=rng.randint(0, 9))))
        for _ in range(300)
    ]
    assert edit_distances(pairs).tolist() == [by_definition(a, b) for a, b in pairs]
    assert edit_distances([]).tolist() == []
    assert edit_distances([("", "")]).tolist() == [0]


def test_distances_do_not_depend_on_how_pairs_are_batched(monkeypatch: pytest.MonkeyPatch):
    pairs = [(text, other[0]) for text, other in zip(*corpus(2, 60), strict=True)]
    whole = edit_distances(pairs)
    monkeypatch.setattr("patchword.tasks.metrics.edits._CELLS", 50)
    assert edit_distances(pairs).tolist() == whole.tolist()


@pytest.mark.parametrize(
    ("said", "given", "cer", "wer", "exact"),
    [
        (["kitten"], [["sitting"]], 3 / 7, 1.0, 0.0),
        (["the cat sat"], [["the cat sat"]], 0.0, 0.0, 1.0),
        (["  the   cat sat "], [["the cat sat"]], 0.0, 0.0, 1.0),
        (["the cat"], [["the cat sat"]], 4 / 11, 1 / 3, 0.0),  # one word, four characters with their blank
        (["the big cat sat"], [["the cat sat"]], 4 / 11, 1 / 3, 0.0),
        ([""], [["a b"]], 1.0, 1.0, 0.0),
        ([""], [[""]], 0.0, 0.0, 1.0),
        (["a"], [[""]], math.inf, math.inf, 0.0),
        (["a b", "c"], [["a b"], ["d"]], 1 / 4, 1 / 3, 0.5),  # of all characters and words together
        (["a b c"], [["x y"]], 4 / 3, 3 / 2, 0.0),
        (["a b"], [["x y z", "a b c", "a c"]], 1 / 3, 1 / 3, 0.0),  # as few edits as from "a c", and longer
        (["a b"], [["c", "a b"]], 0.0, 0.0, 1.0),
        (["A b"], [["a b"]], 1 / 3, 1 / 2, 0.0),  # capitals count
    ],
)
def test_worked_by_hand(said: list[str], given: list[list[str]], cer: float, wer: float, exact: float):
    assert edit_rates(said, given) == pytest.approx({"cer": cer, "wer": wer})
    assert exact_match(said, given) == exact


@pytest.mark.parametrize("seed", range(5))
def test_rates_are_those_of_jiwer(seed: int):
    said, given = corpus(seed, 80)
    truth = [texts[0] for texts in given]
    want = {"cer": jiwer.cer(truth, said), "wer": jiwer.wer(truth, said)}
    assert edit_rates(said, given) == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize("references", [1, 3])
def test_scores_are_those_of_sacrebleus_command(tmp_path: Path, references: int):
    said, given = corpus(7, 60, references)
    (tmp_path / "said").write_text("\n".join(said) + "\n", encoding="utf-8")
    names = []
    for i in range(references):
        (tmp_path / f"given{i}").write_text("\n".join(texts[i] for texts in given) + "\n", encoding="utf-8")
        names.append(str(tmp_path / f"given{i}"))
    found = translation_scores(said, given)
    for name, options in {
        "bleu": ["-m", "bleu"],
        "bleu_lowercase": ["-m", "bleu", "-lc"],
        "chrf": ["-m", "chrf"],
    }.items():
        command = [sys.executable, "-m", "sacrebleu", *names, "-i", str(tmp_path / "said"), "-b", "-w", "9", *options]
        want = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        assert found[name] == pytest.approx(want, abs=1e-8)


def test_bleu_by_hand():
    # four words of five, three pairs of four, two triples of three, one of two fours: (4/5 3/4 2/3 1/2) ** 1/4
    found = translation_scores(["a b c d x"], [["a b c d e"]])
    assert found["bleu"] == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    # as short as this, it is also punished by exp(1 - 8/5)
    found = translation_scores(["a b c d e"], [["a b c d e f g h"]])
    assert found["bleu"] == pytest.approx(100 * math.exp(1 - 8 / 5))
    lower = translation_scores(["A B C D"], [["a b c d"]])
    assert lower["bleu_lowercase"] == pytest.approx(100)
    assert lower["bleu"] == 0


def test_nothing_said_scores_nothing():
    found = translation_scores(["", ""], [["a dog"], ["a cat"]])
    assert found == {"bleu": 0, "bleu_lowercase": 0, "chrf": 0}


def test_differing_numbers_of_references():
    said, given = ["a b c d e", "f g h i j"], [["x", "a b c d e"], ["f g h i j"]]
    assert translation_scores(said, given)["bleu"] == pytest.approx(100)


@pytest.mark.parametrize("metric", [edit_rates, exact_match, translation_scores])
def test_what_cannot_be_scored(metric):
    for said, given in (([], []), (["a"], []), (["a"], [[]]), (["a"], ["a"]), ("a", ["a"])):
        with pytest.raises(UserError):
            metric(said, given)
