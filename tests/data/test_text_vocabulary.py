"""What a tokenizer learns: exactly what is seen often enough, in an order that the texts alone decide."""

from __future__ import annotations

import json
import os
import pickle
import random
import subprocess
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchword.config import (
    BPETokenizerConfig,
    BytesTokenizerConfig,
    CharactersTokenizerConfig,
    TokenizerConfig,
    UserError,
    WordPieceTokenizerConfig,
    WordsTokenizerConfig,
)
from patchword.data.text import SPECIALS, Tokenizer


def captions(seed: int, count: int = 400) -> list[str]:
    """Random sentences over few words, some of them rare."""
    choice = random.Random(seed)
    words = ["".join(choice.choices("abcdefghijäöüß", k=choice.randint(1, 8))) for _ in range(80)]
    return [
        " ".join(choice.choices(words, weights=range(1, 81), k=choice.randint(1, 12))) + choice.choice(["", ".", " !"])
        for _ in range(count)
    ]


TEXTS = captions(1)
COUNTS = Counter(word for text in TEXTS for word in text.replace(".", " .").split())


def vocabulary(tokenizer: Tokenizer, folder: Path) -> dict[str, int]:
    tokenizer.save(folder / "vocabulary.json")
    return json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))["model"]["vocab"]


# ------------------------------------------------------------------ any text


@pytest.mark.parametrize("config", [BytesTokenizerConfig, BPETokenizerConfig, CharactersTokenizerConfig])
@pytest.mark.parametrize("lowercase", [False, True])
@given(text=st.text(max_size=30))
def test_any_text_comes_back(config: type[TokenizerConfig], lowercase: bool, text: str) -> None:
    known = [text] if config is CharactersTokenizerConfig else []
    tokenizer = Tokenizer.train(config(lowercase=lowercase), ["aabb ccdd", *known])
    # letter by letter: Python alone looks at a word's end to lower a sigma
    wanted = "".join(letter.lower() for letter in text) if lowercase else text
    assert tokenizer.decode(tokenizer.encode(text)) == unicodedata.normalize("NFC", wanted)


def test_each_byte_has_one_id_of_its_own() -> None:
    tokenizer = Tokenizer.train(BytesTokenizerConfig(lowercase=False), [])
    ids: dict[int, set[int]] = {}
    for point in [*range(0x80), *(0x80 + 97 * i for i in range(11_000))]:
        text = unicodedata.normalize("NFC", chr(point)) if not 0xD800 <= point < 0xE000 else ""
        for byte, i in zip(text.encode(), tokenizer.encode(text)[1:-1], strict=True):
            ids.setdefault(byte, set()).add(i)
    assert len(ids) > 200
    assert all(len(each) == 1 for each in ids.values())
    assert len(set.union(*ids.values())) == len(ids)


def test_one_spelling_of_a_letter_is_as_good_as_another() -> None:
    tokenizer = Tokenizer.train(BPETokenizerConfig(), TEXTS)
    for text in ("Ü", "Ärä", "\u212b", "ÖÜ äöü."):
        assert tokenizer.encode(unicodedata.normalize("NFD", text)) == tokenizer.encode(text)
        assert tokenizer.encode(text) == tokenizer.encode(text.lower())
    cased = Tokenizer.train(WordsTokenizerConfig(lowercase=False, min_frequency=1), ["Ä ä"])
    assert cased.encode("Ä") == cased.encode("A\u0308") != cased.encode("ä")


def test_half_a_character_does_no_harm() -> None:
    """JSON may hold one half of a pair of surrogates; a whole pair is the character that it stands for."""
    tokenizer = Tokenizer.train(BPETokenizerConfig(), [*TEXTS, "\udfff \ud800"])
    assert tokenizer.encode("a\ud800b") == tokenizer.encode("a\ufffdb")
    assert tokenizer.encode("\ud83d\ude00") == tokenizer.encode("😀")


def test_what_is_cut_inside_a_character_or_a_word_still_reads() -> None:
    tokenizer = Tokenizer.train(BytesTokenizerConfig(), [])
    assert tokenizer.decode(tokenizer.encode("a😀")[:-2]).startswith("a\ufffd")
    pieces = Tokenizer.train(WordPieceTokenizerConfig(min_frequency=1, vocab_size=19), ["singsing ringing"])
    ids = pieces.encode("ringsing sing")
    assert len(ids) > 2 + 2
    assert pieces.decode(ids) == "ringsing sing"
    assert "#" not in pieces.decode(ids[2:])


# ------------------------------------------------------------------ often enough


def test_words_are_those_seen_often_enough(tmp_path: Path) -> None:
    for least in (1, 2, 7, 40):
        tokenizer = Tokenizer.train(WordsTokenizerConfig(min_frequency=least), TEXTS)
        often = {word for word, count in COUNTS.items() if count >= least}
        assert set(vocabulary(tokenizer, tmp_path)) == {*SPECIALS, *often}
        for word in COUNTS:
            assert (tokenizer.encode(word)[1] != tokenizer.unk_id) == (word in often)


def test_the_commonest_words_stay(tmp_path: Path) -> None:
    ranked = sorted(COUNTS, key=lambda word: (-COUNTS[word], word))
    for size in (5, 20, 50):
        tokenizer = Tokenizer.train(WordsTokenizerConfig(vocab_size=size, min_frequency=1), TEXTS)
        found = vocabulary(tokenizer, tmp_path)
        assert sorted(found, key=found.__getitem__) == [*SPECIALS, *ranked[: size - len(SPECIALS)]]


def test_pairs_are_merged_when_seen_often_enough() -> None:
    texts = ["abab"] * 3 + ["cd"] * 2  # ab 6 times, abab 3, cd 2
    sizes = [len(Tokenizer.train(BPETokenizerConfig(min_frequency=least), texts)) for least in (1, 2, 3, 4, 7)]
    assert sizes == [263, 263, 262, 261, 260]


def test_pieces_are_those_seen_often_enough(tmp_path: Path) -> None:
    texts = ["aba"] * 3 + ["xyx"] * 2 + ["aq"]
    tokenizer = Tokenizer.train(WordPieceTokenizerConfig(min_frequency=3), texts)
    found = vocabulary(tokenizer, tmp_path)
    # x is seen 4 times; y and q too seldom, so a word with either is unknown as a whole
    assert {*SPECIALS, "a", "b", "x", "##a", "##b", "aba"} <= set(found)
    assert not any("y" in piece or "q" in piece for piece in set(found) - set(SPECIALS))
    assert tokenizer.encode("aq a xyx") == [1, 3, found["a"], 3, 2]


def test_the_least_vocabulary_that_is_named_is_enough() -> None:
    with pytest.raises(UserError, match=r"data.tokenizer.vocab_size: should be at least (\d+) .*, got 20") as caught:
        Tokenizer.train(WordPieceTokenizerConfig(vocab_size=20), TEXTS)
    least = int(str(caught.value).split("at least ")[1].split()[0])
    assert len(Tokenizer.train(WordPieceTokenizerConfig(vocab_size=least), TEXTS)) == least
    with pytest.raises(UserError):
        Tokenizer.train(WordPieceTokenizerConfig(vocab_size=least - 1), TEXTS)
    assert len(Tokenizer.train(BPETokenizerConfig(vocab_size=260), TEXTS)) == 260


@pytest.mark.parametrize("config", [BPETokenizerConfig(), WordPieceTokenizerConfig(), WordsTokenizerConfig()])
def test_an_error_of_the_source_is_passed_on(config: TokenizerConfig) -> None:
    def broken() -> Iterator[str]:
        yield "a b"
        raise UserError("table.csv, line 2: broken quote")

    with pytest.raises(UserError, match="line 2: broken quote"):
        Tokenizer.train(config, broken())


# ------------------------------------------------------------------ the texts alone decide

_TRAIN_AND_FORK = """
import os, pickle, sys
from patchword.data.text import Tokenizer
configs, texts, folder = pickle.load(sys.stdin.buffer)
made = [Tokenizer.train(config, iter(texts)) for config in configs]
for config, tokenizer in zip(configs, made):
    tokenizer.save(os.path.join(folder, config.kind))
child = os.fork()
if child == 0:
    made[0].encode_batch(texts)
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize("threads", ["true", None])
def test_threads_change_nothing_and_a_fork_is_silent(
    threads: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another process, whose hash tables differ; loaders fork from a process that trained."""
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    configs = [BPETokenizerConfig(vocab_size=400), WordPieceTokenizerConfig(vocab_size=90), WordsTokenizerConfig()]
    here = [Tokenizer.train(config, TEXTS) for config in configs]
    assert "TOKENIZERS_PARALLELISM" not in os.environ
    if threads is not None:
        monkeypatch.setenv("TOKENIZERS_PARALLELISM", threads)
    told = pickle.dumps((configs, TEXTS, str(tmp_path)))
    done = subprocess.run([sys.executable, "-c", _TRAIN_AND_FORK], input=told, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    for config, tokenizer in zip(configs, here, strict=True):
        tokenizer.save(tmp_path / "here")
        assert (tmp_path / config.kind).read_bytes() == (tmp_path / "here").read_bytes(), config.kind
