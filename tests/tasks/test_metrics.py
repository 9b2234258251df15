"""Caption metrics: against pycocoevalcap, against plain code, against figures worked out by hand."""

from __future__ import annotations

import math
import random
import sys
import time
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider

from patchword.config import UserError
from patchword.tasks.metrics import bleu, caption_words, cider_d, distinct, perplexity

Corpus = tuple[list[str], list[list[str]]]
WORDS = "a the two dog dog's cat red t-shirt runs, jumps on in grass. snow straße ЁЖИК 3.5 –"


def random_corpus(seed: int, pictures: int, *, words: int = 14, shortest: int = 0) -> Corpus:
    """Captions of `shortest` to `words` words, one to six references a picture, duplicates everywhere."""
    rng = random.Random(seed)

    def caption(shortest: int) -> str:
        return " ".join(rng.choices(WORDS.split(), k=rng.randint(shortest, words)))

    references = [[caption(max(shortest, 1)) for _ in range(rng.randint(1, 6))] for _ in range(pictures)]
    candidates = []
    for given in references:
        copied = rng.choice(given)
        candidates.append(rng.choice([copied, copied + " and more", caption(shortest)]))
    return candidates, references


def coco(metric: Cider | Bleu, corpus: Corpus, **options: int) -> tuple:
    """The public metric on the same words: it splits on blanks only."""
    candidates, references = corpus
    found = {i: [" ".join(caption_words(text))] for i, text in enumerate(candidates)}
    truth = {i: [" ".join(caption_words(text)) for text in given] for i, given in enumerate(references)}
    return metric.compute_score(truth, found, **options)


CORPORA = {
    "long": random_corpus(0, 60),
    "many": random_corpus(1, 300),
    "two": random_corpus(2, 2),
    "short": random_corpus(3, 80, words=3),
    "one word": random_corpus(4, 50, words=1),
    "one picture": random_corpus(5, 1),
    "empty candidates": ([""] * 20, random_corpus(6, 20)[1]),
    "one empty candidate": ([" .", "a dog"], [["a cat", "the cat"], ["a dog"]]),
    "an empty reference": (["a dog", "two cats run"], [["", "a dog"], ["two cats"]]),
    "all the same": (["a red dog runs"] * 9, [["a red dog runs"] * 3] * 9),
    "one caption for all": (["a dog runs on the grass"] * 40, random_corpus(7, 40)[1]),
    "repeated words": (["dog dog dog dog dog", "cat"], [["dog dog", "a dog dog dog"], ["cat cat"]]),
    "a very long caption": (
        ["a dog on grass " * 500, "a cat"],
        [["a dog", "dog on " * 400], ["a cat"]],
    ),
}


# --- words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        (" \t\n ... !? -- '", []),
        ("A Dog runs.", ["a", "dog", "runs"]),
        ("dog,cat;bird/fish_hen", ["dog", "cat", "bird", "fish", "hen"]),
        ("The dog's", ["the", "dog", "s"]),
        ("the dog ’s", ["the", "dog", "s"]),
        ("a tri-colored - T‑shirt-", ["a", "tri-colored", "t-shirt"]),
        ("a--b -c", ["a", "b", "c"]),
        ("3.5 or 1,000, no. 7.", ["3.5", "or", "1,000", "no", "7"]),
        ("e.g. 3.a a.3", ["e", "g", "3", "a", "a", "3"]),
        ("$5 + 7% = ©<b>", ["5", "7", "b"]),
        ("„Ein GRÜNER Würfel“ — groß", ["ein", "grüner", "würfel", "groß"]),
        ("cafe\u0301 café", ["café", "café"]),
        ("ＤＯＧ ﬁsh 𝐜𝐚𝐭", ["dog", "fish", "cat"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("co\u00adop می\u200cخواهم", ["coop", "میخواهم"]),
        ("dog😀cat ❤️ 👨\u200d👩", ["dog", "cat"]),
        ("\ud800 \x00dog\x07 \u0301", ["dog"]),
        ("两只狗。", ["两只狗"]),
    ],
)
def test_words_by_hand(text: str, words: list[str]) -> None:
    assert caption_words(text) == words


@pytest.mark.parametrize("seed", range(4))
def test_words_are_stable_lower_case_and_hold_no_blank(seed: int) -> None:
    rng = random.Random(seed)
    alphabets = [range(0x20, 0x7F), range(0x250), range(0x2000, 0x2100), range(sys.maxunicode + 1)]
    for _ in range(2000):
        text = "".join(chr(rng.choice(rng.choice(alphabets))) for _ in range(rng.randint(0, 20)))
        words = caption_words(text)
        assert caption_words(" ".join(words)) == words
        for word in words:
            assert word == word.lower()
            assert word.split() == [word]
            assert word[0].isalnum()
            assert all(unicodedata.category(c)[0] in "LMN" or c in "-.," for c in word)


def test_composed_and_decomposed_text_give_the_same_words() -> None:
    text = "Ein weißes Kätzchen über Ångström, ЁЖ й"
    assert caption_words(unicodedata.normalize("NFD", text)) == caption_words(text)


# --- CIDEr-D


@pytest.mark.parametrize("sigma", [6.0, 1.5])
@pytest.mark.parametrize("name", CORPORA)
def test_cider_equals_pycocoevalcap(name: str, sigma: float) -> None:
    mean, scores = coco(Cider(sigma=sigma), CORPORA[name])
    ours = cider_d(*CORPORA[name], sigma=sigma)
    assert ours.scores == pytest.approx(scores.tolist(), abs=1e-9, rel=0)
    assert ours.mean == pytest.approx(float(mean), abs=1e-9, rel=0)


def test_cider_corpora_are_not_trivial() -> None:
    scores = cider_d(*CORPORA["many"]).scores
    assert len(set(scores)) > 150
    assert min(scores) < 0.5 < 5 < max(scores) <= 10


def test_cider_by_hand() -> None:
    # Two pictures. "a" is in both: weight 0. "dog" and "a dog" weigh ln 2; there are no 3- and 4-grams.
    references = [["a dog"], ["a cat"]]
    assert cider_d(["a dog", "A cat."], references).scores == pytest.approx([5.0, 5.0])
    # Against "a dog": unigrams min(2, 1) * 1 / (2 * 1); bigrams 1 / sqrt(2); one word longer.
    expected = 10 / 4 * (1 / 2 + 1 / math.sqrt(2)) * math.exp(-1 / (2 * 36))
    assert cider_d(["a dog dog", ""], references).scores == pytest.approx([expected, 0.0])


def test_cider_of_a_perfect_corpus_is_ten() -> None:
    captions = [f"{i} red dogs run over {i + 100} fields" for i in range(10)]
    assert cider_d(captions, [[caption] for caption in captions]).mean == pytest.approx(10.0)


def test_cider_of_a_single_picture_is_zero() -> None:
    assert cider_d(["a dog"], [["a dog", "a dog"]]).scores == (0.0,)


def test_cider_of_nothing_but_empty_captions_is_zero() -> None:
    assert cider_d(["", "."], [[""], ["", "!"]]).scores == (0.0, 0.0)


@pytest.mark.parametrize("sigma", [1e-320, 1e-200, 1e300, math.inf])
def test_cider_is_finite_for_extreme_sigma(sigma: float) -> None:
    ours = cider_d(*CORPORA["many"], sigma=sigma)
    assert all(math.isfinite(score) and 0 <= score <= 10 + 1e-9 for score in ours.scores)


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan])
def test_cider_refuses_sigma(sigma: float) -> None:
    with pytest.raises(UserError, match="sigma"):
        cider_d(["a dog"], [["a dog"]], sigma=sigma)


def test_a_thousand_pictures_take_less_than_two_seconds() -> None:
    rng = random.Random(8)
    vocabulary = [f"w{i}" for i in range(800)]
    references = [[" ".join(rng.choices(vocabulary, k=11)) for _ in range(5)] for _ in range(1000)]
    candidates = [" ".join(rng.choices(vocabulary, k=11)) for _ in references]
    start = time.process_time()
    cider_d(candidates, references)
    assert time.process_time() - start < 2


# --- BLEU


def plain_bleu(corpus: Corpus, order: int) -> float:
    """Papineni et al. 2002, section 2.3, from the formulas."""
    candidates = [caption_words(text) for text in corpus[0]]
    references = [[caption_words(text) for text in given] for given in corpus[1]]
    log_precision = 0.0
    for n in range(1, order + 1):
        matched = total = 0
        for words, given in zip(candidates, references):
            grams = Counter(zip(*(words[i:] for i in range(n))))
            limits = [Counter(zip(*(r[i:] for i in range(n)))) for r in given]
            matched += sum(min(k, max(limit[gram] for limit in limits)) for gram, k in grams.items())
            total += sum(grams.values())
        if matched == 0:
            return 0.0
        log_precision += math.log(matched / total) / order
    length = sum(len(words) for words in candidates)
    closest = sum(
        min((abs(len(r) - len(words)), len(r)) for r in given)[1] for words, given in zip(candidates, references)
    )
    return 100 * math.exp(log_precision + min(0.0, 1 - closest / length))


@pytest.mark.parametrize("name", CORPORA)
def test_bleu_equals_the_plain_formula(name: str) -> None:
    ours = bleu(*CORPORA[name])
    assert list(ours) == ["bleu1", "bleu2", "bleu3", "bleu4"]
    for order in range(1, 5):
        assert ours[f"bleu{order}"] == pytest.approx(plain_bleu(CORPORA[name], order), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", ["long", "many"])
def test_bleu_equals_pycocoevalcap(name: str) -> None:
    theirs, _ = coco(Bleu(4), CORPORA[name], verbose=0)
    # Its guards against division by zero (1e-9) are all that differs.
    assert list(bleu(*CORPORA[name]).values()) == pytest.approx([100 * b for b in theirs], rel=1e-7)


def test_bleu_by_hand() -> None:
    # The paper's example: "the" counts at most twice; length 7 = the second reference's.
    references = [["The cat is on the mat.", "There is a cat on the mat."]]
    ours = bleu(["the the the the the the the"], references)
    assert ours == pytest.approx({"bleu1": 200 / 7, "bleu2": 0, "bleu3": 0, "bleu4": 0})
    # 5 words against 6: 5/5, 3/4 (on mat), 1/3 (cat is on), so no 4-gram; penalty exp(1 - 6/5).
    ours = bleu(["the cat is on mat"], [["the cat is on the mat"]], max_order=2)
    penalty = math.exp(1 - 6 / 5)
    assert ours == pytest.approx({"bleu1": 100 * penalty, "bleu2": 100 * math.sqrt(3 / 4) * penalty})


def test_bleu_of_a_perfect_corpus_is_a_hundred() -> None:
    references = random_corpus(9, 30, shortest=4)[1]
    ours = bleu([given[-1] for given in references], references)
    assert ours == pytest.approx(dict.fromkeys(ours, 100.0))
    assert max(ours.values()) <= 100


@pytest.mark.parametrize("references", [[["a dog"], ["a cat", ""]], [[""], ["."]]])
def test_bleu_of_empty_candidates_is_zero(references: list[list[str]]) -> None:
    assert set(bleu(["", " . "], references).values()) == {0.0}


def test_bleu_refuses_order_zero() -> None:
    with pytest.raises(UserError, match="max_order"):
        bleu(["a dog"], [["a dog"]], max_order=0)


# --- what both refuse


@pytest.mark.parametrize("metric", [cider_d, bleu])
@pytest.mark.parametrize(
    ("candidates", "references", "message"),
    [
        ([], [], "empty"),
        (["a"], [], "1 candidates but 0"),
        (["a"], [["a"], ["b"]], "1 candidates but 2"),
        (["a", "b"], [["a"], []], r"references\[1\]"),
        (["a", "b"], ["a", ["b"]], r"references\[0\] is 'a'"),
        ("ab", [["a"], ["b"]], "one string"),
    ],
)
def test_wrong_input_is_refused(metric, candidates, references, message: str) -> None:
    with pytest.raises(UserError, match=message):
        metric(candidates, references)


def test_captions_of_flickr8k_agree_with_pycocoevalcap() -> None:
    path = Path(__file__).parents[2] / "../shared/data/flickr8k/captions.txt"
    if not path.is_file():
        pytest.skip("Flickr8k's captions are not beside the checkout (../shared/data/flickr8k)")
    pictures: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines()[1:2001]:
        name, caption = line.split(",", 1)
        pictures.setdefault(name, []).append(caption)
    # One reference of each picture plays the candidate.
    corpus = [given[0] for given in pictures.values()], [given[1:] for given in pictures.values()]
    mean, scores = coco(Cider(), corpus)
    ours = cider_d(*corpus)
    assert ours.scores == pytest.approx(scores.tolist(), abs=1e-9, rel=0)
    assert 0.3 < ours.mean < 2
    assert ours.mean == pytest.approx(float(mean), abs=1e-9, rel=0)


# --- without references


@pytest.mark.parametrize(
    ("captions", "number", "share"),
    [
        ([], 0, 0.0),
        ([""], 1, 1.0),
        (["A dog.", "a dog", "a  dog !", "the dog"], 2, 0.5),
        (["a b", "b a", "ab"], 3, 1.0),
    ],
)
def test_distinct_by_hand(captions: list[str], number: int, share: float) -> None:
    assert distinct(captions) == {"distinct": number, "distinct_share": share}


def test_distinct_refuses_one_string() -> None:
    with pytest.raises(UserError, match="one string"):
        distinct("a dog")


@pytest.mark.parametrize(
    ("total", "count", "expected"),
    [
        (0.0, 3, 1.0),
        (10 * math.log(29.0), 10, 29.0),
        (1e6, 1000, math.inf),
        (709.9, 1, math.inf),
        (math.inf, 5, math.inf),
        (math.nan, 5, math.inf),
        (0.0, 0, math.inf),
        (math.inf, math.inf, math.inf),
        (-math.inf, 2, 0.0),
    ],
)
def test_perplexity_by_hand(total: float, count: float, expected: float) -> None:
    assert perplexity(total, count) == pytest.approx(expected)


def test_perplexity_is_that_of_the_uniform_guess() -> None:
    rng = random.Random(10)
    for _ in range(200):
        size, count = rng.randint(2, 50_000), rng.randint(1, 10_000)
        assert perplexity(count * math.log(size), count) == pytest.approx(size)


@pytest.mark.parametrize("mean", [709.78, math.log(sys.float_info.max), math.nextafter(709.78, 710)])
def test_perplexity_does_not_overflow(mean: float) -> None:
    assert perplexity(mean, 1) > 1e308


@pytest.mark.parametrize("count", [-1, math.nan])
def test_perplexity_refuses_a_negative_count(count: float) -> None:
    with pytest.raises(UserError, match="count"):
        perplexity(1.0, count)
