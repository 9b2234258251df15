"""Tokenizers: text comes back, specials cannot be smuggled in, files are readable elsewhere and the same every time."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tokenizers

from patchword.config import (
    BPETokenizerConfig,
    BytesTokenizerConfig,
    CharactersTokenizerConfig,
    ConfigError,
    TokenizerConfig,
    UserError,
    WordPieceTokenizerConfig,
    WordsTokenizerConfig,
)
from patchword.data.text import SPECIALS, Tokenizer

TEXTS = [
    "A small red square is left of a big blue circle.",
    "Two dogs, one black and one white, run through the snow!",
    "Größere Füße müssen öfter über die Straße gehen.",
    "the dog's ball is not a cat in a t-shirt",
    "Ärger über Öl; ein Spaß.",
] * 3
CONFIGS: list[TokenizerConfig] = [
    BytesTokenizerConfig(),
    CharactersTokenizerConfig(),
    BPETokenizerConfig(vocab_size=330),
    WordPieceTokenizerConfig(vocab_size=200),
    WordsTokenizerConfig(vocab_size=200),
]
EXACT = CONFIGS[:3]
HOSTILE = [
    "",
    " ",
    "<eos>",
    "<pad><bos><eos><unk>",
    "a<eos>b",
    "😀👩‍👩‍👧",
    "日本語",
    "\u0000",
    "\ud800",
    "a\u0301",
    "İ",
    "\n\t",
    "##a",
]

kinds = pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.kind)


def trained(config: TokenizerConfig) -> Tokenizer:
    return Tokenizer.train(config, TEXTS)


@kinds
def test_ids_have_bos_and_eos_around(config: TokenizerConfig) -> None:
    tokenizer = trained(config)
    assert (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id) == (0, 1, 2, 3)
    assert len(tokenizer) == tokenizer.vocab_size > 4
    most = config.most_entries()
    assert most is None or tokenizer.vocab_size <= most
    for text in [*TEXTS, *HOSTILE]:
        ids = tokenizer.encode(text)
        assert (ids[0], ids[-1]) == (1, 2)
        assert not {0, 1, 2} & set(ids[1:-1])
        assert all(0 <= i < tokenizer.vocab_size for i in ids)
    assert tokenizer.encode("") == [1, 2]
    assert tokenizer.encode_batch(TEXTS[:3]) == [tokenizer.encode(text) for text in TEXTS[:3]]
    assert tokenizer.encode_batch([]) == []


@kinds
def test_natural_text_comes_back(config: TokenizerConfig) -> None:
    tokenizer, spaced = trained(config), config not in EXACT
    sentences = ["a big red dog", "über die straße", "spaß", TEXTS[3]] if spaced else TEXTS
    train = [*TEXTS, *(["a big red dog über die straße spaß"] * 3)]
    tokenizer = Tokenizer.train(config, train) if spaced else tokenizer
    for text in sentences:
        assert tokenizer.decode(tokenizer.encode(text)) == text.lower()
    cased = Tokenizer.train(config.replace(lowercase=False), train)
    for text in TEXTS[2:3] if not spaced else ["Größere Füße müssen"]:
        assert cased.decode(cased.encode(text)) == text


@pytest.mark.parametrize("kind", [BytesTokenizerConfig(), BPETokenizerConfig(vocab_size=300)], ids=lambda c: c.kind)
def test_bytes_lose_nothing(kind: TokenizerConfig) -> None:
    tokenizer = Tokenizer.train(kind.replace(lowercase=False), TEXTS)
    signs = "aZ ß é😀日\n\t\u0000<eos>##'\u2028\u200d"
    for text in ["<eos>", "😀👩‍👩‍👧", "\u0000", *("".join(random.choices(signs, k=30)) for _ in range(50))]:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert tokenizer.unk_id not in ids


@kinds
def test_decoding_stops_at_eos_and_drops_specials(config: TokenizerConfig) -> None:
    tokenizer = trained(config)
    ids = tokenizer.encode("the dog")
    assert tokenizer.decode([*ids, *tokenizer.encode("cat"), 0, 0]) == tokenizer.decode(ids) == "the dog"
    assert tokenizer.decode([1, 0, *ids[1:-1]]) == "the dog"
    assert tokenizer.decode([]) == tokenizer.decode([2]) == tokenizer.decode([tokenizer.vocab_size + 9]) == ""
    for _ in range(50):  # whatever a model may say
        assert isinstance(tokenizer.decode(random.choices(range(tokenizer.vocab_size), k=20)), str)


@kinds
def test_max_len_keeps_eos(config: TokenizerConfig) -> None:
    tokenizer = trained(config)
    whole = tokenizer.encode(TEXTS[0])
    for most in (2, 3, len(whole) - 1, len(whole), len(whole) + 1):
        ids = tokenizer.encode(TEXTS[0], max_len=most)
        assert len(ids) == min(most, len(whole))
        assert ids == [*whole[: len(ids) - 1], 2]
    for least in (1, 0, -1):
        with pytest.raises(UserError, match="at least 2"):
            tokenizer.encode("a", max_len=least)
    assert len(tokenizer.encode("the dog " * 2_000, max_len=7)) == 7
    assert tokenizer.encode("x" * 10_000)[-1] == 2


@kinds
def test_a_file_is_the_same_every_time_and_read_back(config: TokenizerConfig, tmp_path: Path) -> None:
    files = [tmp_path / name for name in "abc"]
    trained(config).save(files[0])
    Tokenizer.train(config, iter(TEXTS)).save(files[1])
    loaded = Tokenizer.load(files[0])
    loaded.save(files[2])
    assert files[0].read_bytes() == files[1].read_bytes() == files[2].read_bytes()
    for text in [*TEXTS, *HOSTILE]:
        assert loaded.encode(text) == trained_once(config).encode(text)


_trained: dict[str, Tokenizer] = {}


def trained_once(config: TokenizerConfig) -> Tokenizer:
    if config.kind not in _trained:
        _trained[config.kind] = trained(config)
    return _trained[config.kind]


def test_another_process_makes_the_same_file(tmp_path: Path) -> None:
    """Hash tables differ from process to process; files must not."""
    code = (
        "import sys; from patchword.data.text import Tokenizer; from patchword.config import *;"
        f"texts = {TEXTS!r};"
        "[Tokenizer.train(c, texts).save(f'{sys.argv[1]}/{c.kind}') for c in (WordPieceTokenizerConfig(vocab_size=200),"
        " BPETokenizerConfig(vocab_size=330), WordsTokenizerConfig(vocab_size=200))]"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    for config in CONFIGS[2:]:
        trained_once(config).save(tmp_path / "here")
        assert (tmp_path / "here").read_bytes() == (tmp_path / config.kind).read_bytes()


@kinds
def test_other_libraries_read_the_file(config: TokenizerConfig, tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    tokenizer = trained_once(config)
    tokenizer.save(tmp_path / "tokenizer.json")
    plain = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    theirs: Any = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"), eos_token="<eos>")
    for text in TEXTS:
        assert plain.encode(text).ids == theirs.encode(text) == tokenizer.encode(text)
        assert plain.decode(tokenizer.encode(text)) == tokenizer.decode(tokenizer.encode(text))


def test_rare_words_are_unknown() -> None:
    words = Tokenizer.train(WordsTokenizerConfig(min_frequency=2), ["the dog runs", "the dog sits"])
    assert words.encode("the dog runs")[1:-1] == [*words.encode("the dog")[1:-1], words.unk_id]
    assert words.decode(words.encode("the zebra dog")) == "the dog"
    signs = Tokenizer.train(CharactersTokenizerConfig(), ["abc"])
    assert signs.encode("aβc")[2] == signs.unk_id
    few = Tokenizer.train(WordsTokenizerConfig(vocab_size=6, min_frequency=1), ["a a a b b c"])
    assert few.vocab_size == 6
    assert [few.encode(w)[1] == few.unk_id for w in "abc"] == [False, False, True]


@pytest.mark.parametrize(
    ("kind", "size"),
    [(BPETokenizerConfig, 259), (BPETokenizerConfig, 4), (WordsTokenizerConfig, 4), (WordPieceTokenizerConfig, 4)],
)
def test_too_small_vocabularies_are_refused(kind: Any, size: int) -> None:
    with pytest.raises(ConfigError, match="vocab_size: should be at least"):
        kind(vocab_size=size)


def test_texts_that_teach_nothing_are_refused() -> None:
    for config in (CharactersTokenizerConfig(), WordsTokenizerConfig(), WordPieceTokenizerConfig()):
        for texts in ([], [""], ["", ""]):
            with pytest.raises(UserError, match="nothing in the training texts"):
                Tokenizer.train(config, texts)
    with pytest.raises(UserError, match="at least"):
        Tokenizer.train(WordPieceTokenizerConfig(vocab_size=10), TEXTS)
    for config in (BytesTokenizerConfig(), BPETokenizerConfig()):
        assert Tokenizer.train(config, []).decode(Tokenizer.train(config, []).encode("any text")) == "any text"


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"version": "1.0"', b"null"])
def test_broken_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot read tokenizer .*tokenizer\.json"):
        Tokenizer.load(path)


def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        Tokenizer.load(tmp_path / "none.json")
    with pytest.raises(UserError, match="Is a directory"):
        Tokenizer.load(tmp_path)
    path = tmp_path / "foreign.json"
    tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]")).save(str(path))
    with pytest.raises(UserError, match="was not made by patchword: ids 0 to 3 should be <pad> <bos> <eos> <unk>"):
        Tokenizer.load(path)
    trained_once(CONFIGS[4]).save(path)
    data = json.loads(path.read_text(encoding="utf-8"))
    vocab = data["model"]["vocab"]
    vocab[max(vocab, key=vocab.get)] += 100
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(UserError, match="gaps"):
        Tokenizer.load(path)


@kinds
def test_a_tokenizer_travels_to_other_processes(config: TokenizerConfig) -> None:
    tokenizer = trained_once(config)
    copy = pickle.loads(pickle.dumps(tokenizer))
    assert [copy.encode(t) for t in [*TEXTS, *HOSTILE]] == [tokenizer.encode(t) for t in [*TEXTS, *HOSTILE]]
    assert copy.vocab_size == tokenizer.vocab_size


def _encode_in_child(tokenizer: Tokenizer, pipe: Any) -> None:
    pipe.send(tokenizer.encode_batch(TEXTS))


def test_a_forked_worker_encodes_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    """The library warns, or waits for ever, where its threads were used before the fork."""
    tokenizer = trained(CONFIGS[2])
    here = tokenizer.encode_batch(TEXTS)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    child = context.Process(target=_encode_in_child, args=(tokenizer, theirs))
    child.start()
    assert ours.poll(30)
    assert ours.recv() == here
    child.join(30)
    assert child.exitcode == 0
    assert capfd.readouterr().err == ""


def test_the_specials_have_their_places(tmp_path: Path) -> None:
    for config in CONFIGS:
        trained_once(config).save(tmp_path / "t.json")
        core = tokenizers.Tokenizer.from_file(str(tmp_path / "t.json"))
        assert tuple(core.id_to_token(i) for i in range(4)) == SPECIALS
