"""The kinds of tokenizers: what each is made of, and how it learns. `patchword.data.text` uses what they make."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from typing import Any

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from patchword.config import (
    BPETokenizerConfig,
    BytesTokenizerConfig,
    CharactersTokenizerConfig,
    TokenizerConfig,
    UserError,
    WordPieceTokenizerConfig,
    WordsTokenizerConfig,
    implements,
)

SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")
"""Those with ids 0 to 3, in a vocabulary that has special tokens."""
_UNK = SPECIALS[3]


def specials_of(config: TokenizerConfig) -> list[str]:
    """The special tokens that such a tokenizer has."""
    return list(SPECIALS) if config.special_tokens else []


_BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())


def _changes(config: TokenizerConfig) -> list[Any]:
    """What the settings change of a text first. NFC last: lower-casing may take a composed letter apart."""
    return [*([normalizers.Lowercase()] if config.lowercase else []), normalizers.NFC()]


def _new(changes: list[Any], model: Any, split: Any, join: Any) -> tokenizers.Tokenizer:
    """A tokenizer of these parts."""
    core = tokenizers.Tokenizer(model)
    core.normalizer = normalizers.Sequence(changes)  # pyright: ignore[reportAttributeAccessIssue]
    core.pre_tokenizer, core.decoder = split, join  # pyright: ignore[reportAttributeAccessIssue]
    return core


def characters_of(symbols: Iterable[str]) -> tokenizers.Tokenizer:
    """A tokenizer of these characters alone, numbered in their order."""
    return _characters_with(models.WordLevel(vocab={c: i for i, c in enumerate(symbols)}, unk_token=_UNK), [])


@implements(BytesTokenizerConfig)
def _bytes(config: BytesTokenizerConfig, _: Iterable[str]) -> tokenizers.Tokenizer:
    model = models.BPE(vocab={token: i for i, token in enumerate([*specials_of(config), *_BYTES])}, merges=[])
    return _new(_changes(config), model, pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel())


@implements(BPETokenizerConfig)
def _bpe(config: BPETokenizerConfig, texts: Iterable[str]) -> tokenizers.Tokenizer:
    core = _new(_changes(config), models.BPE(), pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel())
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        special_tokens=specials_of(config),
        initial_alphabet=_BYTES,
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    return core


@implements(CharactersTokenizerConfig)
def _characters(config: CharactersTokenizerConfig, texts: Iterable[str]) -> tokenizers.Tokenizer:
    core = _characters_with(models.WordLevel(unk_token=_UNK), _changes(config))
    _learn_words(core, texts, specials_of(config), vocab_size=0x110000 + len(SPECIALS), min_frequency=1)
    return core


def _characters_with(model: Any, changes: list[Any]) -> tokenizers.Tokenizer:
    every = pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), "isolated")
    return _new(changes, model, every, decoders.Fuse())


@implements(WordsTokenizerConfig)
def _words(config: WordsTokenizerConfig, texts: Iterable[str]) -> tokenizers.Tokenizer:
    split, join = (_at_blanks(), _with_blanks()) if config.split == "blanks" else (_at_signs(), _join_words())
    core = _new(_changes(config), models.WordLevel(unk_token=_UNK), split, join)
    _learn_words(core, texts, specials_of(config), config.vocab_size, config.min_frequency)
    return core


def _learn_words(
    core: tokenizers.Tokenizer, texts: Iterable[str], specials: list[str], vocab_size: int, min_frequency: int
) -> None:
    trainer = trainers.WordLevelTrainer(
        vocab_size=vocab_size, min_frequency=min_frequency, special_tokens=specials, show_progress=False
    )
    core.train_from_iterator(texts, trainer)


def _at_signs() -> Any:
    """Cuts at blanks, and around signs."""
    return pre_tokenizers.BertPreTokenizer()


def _at_blanks() -> Any:
    """Cuts at blanks alone; the end of a line is a word."""
    ends = pre_tokenizers.Split(tokenizers.Regex(r"\n"), "isolated")
    return pre_tokenizers.Sequence([ends, pre_tokenizers.Split(tokenizers.Regex(r"[^\S\n]+"), "removed")])


def _with_blanks() -> Any:
    """Words with blanks between them, but for the ends of lines."""
    between = decoders.WordPiece(prefix="\0", cleanup=False)  # no word begins with it
    return decoders.Sequence([between, decoders.Fuse(), decoders.Replace(tokenizers.Regex(r" ?\n ?"), "\n")])


def _join_words() -> Any:
    """Words with blanks between them, pieces put together, signs where English writes them.

    A piece that no word precedes loses its mark too.
    """
    first = decoders.Replace(tokenizers.Regex("^##"), "")
    signs = [decoders.Replace(f" {sign}", sign) for sign in ",.;:!?"]
    signs += [decoders.Replace(f" {sign} ", sign) for sign in "'-"]
    return decoders.Sequence([decoders.WordPiece(prefix="##", cleanup=False), decoders.Fuse(), first, *signs])


@implements(WordPieceTokenizerConfig)
def _wordpiece(config: WordPieceTokenizerConfig, texts: Iterable[str]) -> tokenizers.Tokenizer:
    core = _new(_changes(config), models.WordPiece(unk_token=_UNK), _at_signs(), _join_words())
    counts = _word_counts(core, texts)
    letters = Counter[str]()
    for word, count in counts.items():
        for letter in word:
            letters[letter] += count
    often = {letter for letter, count in letters.items() if count >= config.min_frequency}
    whole = sorted(word for word in counts if often.issuperset(word))
    single = sorted(often) + sorted({f"##{letter}" for word in whole for letter in word[1:]})
    specials = specials_of(config)
    least = len(specials) + len(single)
    if least > config.vocab_size:
        raise UserError(
            f"data.tokenizer.vocab_size: should be at least {least} for the characters of the training texts, "
            f"got {config.vocab_size} (a higher min_frequency leaves out rare ones)"
        )
    # The trainer numbers pieces as its hash table happens to give them, and numbers decide between equal pairs. It
    # keeps to an order only for special tokens: so every single letter is one while it learns.
    scratch = tokenizers.Tokenizer(models.WordPiece(unk_token=_UNK))
    trainer = trainers.WordPieceTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        special_tokens=[*specials, *single],
        show_progress=False,
    )
    scratch.train_from_iterator(itertools.chain.from_iterable(itertools.repeat(w, counts[w]) for w in whole), trainer)
    core.model = models.WordPiece(vocab=scratch.get_vocab(), unk_token=_UNK)  # pyright: ignore
    return core


def _word_counts(core: tokenizers.Tokenizer, texts: Iterable[str]) -> Counter[str]:
    counts = Counter[str]()
    change, split = core.normalizer, core.pre_tokenizer
    assert change is not None
    assert split is not None
    for text in texts:
        counts.update(word for word, _ in split.pre_tokenize_str(change.normalize_str(text)))
    return counts
