"""Text to token ids and back, around the `tokenizers` library.

A saved tokenizer is a plain `tokenizer.json`, which other libraries read too. Ids 0 to 3 are `<pad> <bos> <eos> <unk>`;
the same letters inside a text are text, never those ids.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

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
_PAD, _BOS, _EOS, _UNK = SPECIALS


class Tokenizer:
    """Token ids of texts, with `<bos>` and `<eos>` around them. Can be pickled to worker processes."""

    pad_id, bos_id, eos_id, unk_id = range(4)

    def __init__(self, core: tokenizers.Tokenizer) -> None:
        core.add_special_tokens(list(SPECIALS))
        core.encode_special_tokens = True  # "<eos>" in a caption must not end it; no file remembers this
        core.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
            single=f"{_BOS} $A {_EOS}",
            pair=f"{_BOS} $A {_EOS} $B:1 {_EOS}:1",
            special_tokens=[(_BOS, self.bos_id), (_EOS, self.eos_id)],
        )
        self._core = core
        self.vocab_size = core.get_vocab_size()

    def __len__(self) -> int:
        return self.vocab_size

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_json, (self._core.to_str(),)

    @classmethod
    def train(cls, config: TokenizerConfig, texts: Iterable[str]) -> Self:
        """The tokenizer of these settings for these texts; the same texts give the same file, byte for byte.

        Raises:
            UserError: the texts hold nothing to learn from, or `vocab_size` cannot hold what the kind always needs.
        """
        with _one_thread():
            core: tokenizers.Tokenizer = config.build(map(_well_formed, texts))
        if core.get_vocab_size() == len(SPECIALS):
            raise UserError(
                f"cannot make a {config.kind} tokenizer: nothing in the training texts is seen often enough"
            )
        return cls(core)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """The tokenizer in a `tokenizer.json`.

        Raises:
            UserError: the file is missing or broken, or another library's tokenizer.
        """
        try:
            core = tokenizers.Tokenizer.from_str(Path(path).read_text(encoding="utf-8"))
            core.no_truncation()
            core.no_padding()
            core.encode("\U0010ffff", add_special_tokens=False)  # unknown to all: shows whether that has a token
            fault = _fault(core)
        except Exception as error:  # the library raises plain Exception
            raise UserError(f"cannot read tokenizer {path}: {getattr(error, 'strerror', None) or error}") from error
        if fault is not None:
            raise UserError(f"tokenizer {path} was not made by patchword: {fault}")
        return cls(core)

    def save(self, path: str | Path) -> None:
        """Write `tokenizer.json`."""
        Path(path).write_text(self._core.to_str(pretty=True) + "\n", encoding="utf-8")

    def encode(self, text: str, max_len: int | None = None) -> list[int]:
        """Ids with `<bos>` and `<eos>` around; at most `max_len` of them, the last then still `<eos>`."""
        if max_len is not None and max_len < 2:
            raise UserError(f"max_len {max_len}: should be at least 2, for {_BOS} and {_EOS}")
        ids = self._core.encode(_well_formed(text)).ids
        return ids if max_len is None or len(ids) <= max_len else [*ids[: max_len - 1], self.eos_id]

    def encode_batch(self, texts: Iterable[str], max_len: int | None = None) -> list[list[int]]:
        """`encode` of each text."""
        return [self.encode(text, max_len) for text in texts]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, up to the first `<eos>`; special tokens and ids past the vocabulary say nothing.

        Bytes that are no whole character (a text cut short) become U+FFFD.
        """
        return self._core.decode(list(itertools.takewhile(lambda i: i != self.eos_id, ids)))


def _from_json(text: str) -> Tokenizer:
    return Tokenizer(tokenizers.Tokenizer.from_str(text))


def _fault(core: tokenizers.Tokenizer) -> str | None:
    """Why a tokenizer cannot be used as one of ours; None where it can."""
    found = tuple(core.id_to_token(i) for i in range(len(SPECIALS)))
    if found != SPECIALS:
        return f"ids 0 to 3 should be {' '.join(SPECIALS)}, got {' '.join(map(str, found))}"
    if max(core.get_vocab().values()) >= core.get_vocab_size():
        return "its ids have gaps"
    return None


def _well_formed(text: str) -> str:
    """The text as Unicode allows it: a surrogate without its pair (JSON may hold one) becomes U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep the library from starting threads: they would not survive the fork that makes a loader's workers.

    Somebody who has set TOKENIZERS_PARALLELISM has decided for themselves.
    """
    name = "TOKENIZERS_PARALLELISM"
    if name in os.environ:
        yield
        return
    os.environ[name] = "false"
    try:
        yield
    finally:
        del os.environ[name]


# ------------------------------------------------------------------ kinds

_BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())


def _new(config: TokenizerConfig, model: Any, split: Any, join: Any) -> tokenizers.Tokenizer:
    """A tokenizer of these parts that changes text as the settings say."""
    core = tokenizers.Tokenizer(model)
    # NFC last: lower-casing may take a composed letter apart
    steps = [*([normalizers.Lowercase()] if config.lowercase else []), normalizers.NFC()]
    core.normalizer = normalizers.Sequence(steps)  # pyright: ignore[reportAttributeAccessIssue]
    core.pre_tokenizer, core.decoder = split, join  # pyright: ignore[reportAttributeAccessIssue]
    return core


def _numbered(tokens: Iterable[str]) -> dict[str, int]:
    return {token: i for i, token in enumerate([*SPECIALS, *tokens])}


@implements(BytesTokenizerConfig)
def _bytes(config: BytesTokenizerConfig, _: Iterable[str]) -> tokenizers.Tokenizer:
    model = models.BPE(vocab=_numbered(_BYTES), merges=[])
    return _new(config, model, pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel())


@implements(BPETokenizerConfig)
def _bpe(config: BPETokenizerConfig, texts: Iterable[str]) -> tokenizers.Tokenizer:
    core = _new(config, models.BPE(), pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel())
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        special_tokens=list(SPECIALS),
        initial_alphabet=_BYTES,
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    return core


@implements(CharactersTokenizerConfig)
def _characters(config: CharactersTokenizerConfig, texts: Iterable[str]) -> tokenizers.Tokenizer:
    every = pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), "isolated")
    core = _new(config, models.WordLevel(unk_token=_UNK), every, decoders.Fuse())
    _learn_words(core, texts, vocab_size=0x110000 + len(SPECIALS), min_frequency=1)
    return core


@implements(WordsTokenizerConfig)
def _words(config: WordsTokenizerConfig, texts: Iterable[str]) -> tokenizers.Tokenizer:
    core = _new(config, models.WordLevel(unk_token=_UNK), pre_tokenizers.BertPreTokenizer(), _join_words())
    _learn_words(core, texts, config.vocab_size, config.min_frequency)
    return core


def _learn_words(core: tokenizers.Tokenizer, texts: Iterable[str], vocab_size: int, min_frequency: int) -> None:
    trainer = trainers.WordLevelTrainer(
        vocab_size=vocab_size, min_frequency=min_frequency, special_tokens=list(SPECIALS), show_progress=False
    )
    core.train_from_iterator(texts, trainer)


def _join_words() -> Any:
    """Words with blanks between them, pieces put together, signs where English writes them.

    A piece that no word precedes loses its mark too.
    """
    first = decoders.Replace(tokenizers.Regex("^##"), "")
    signs = [decoders.Replace(f" {sign}", sign) for sign in ",.;:!?"] + [decoders.Replace(" ' ", "'")]
    return decoders.Sequence([decoders.WordPiece(prefix="##", cleanup=False), decoders.Fuse(), first, *signs])


@implements(WordPieceTokenizerConfig)
def _wordpiece(config: WordPieceTokenizerConfig, texts: Iterable[str]) -> tokenizers.Tokenizer:
    core = _new(config, models.WordPiece(unk_token=_UNK), pre_tokenizers.BertPreTokenizer(), _join_words())
    counts = _word_counts(core, texts)
    letters = Counter[str]()
    for word, count in counts.items():
        for letter in word:
            letters[letter] += count
    often = {letter for letter, count in letters.items() if count >= config.min_frequency}
    whole = sorted(word for word in counts if often.issuperset(word))
    single = sorted(often) + sorted({f"##{letter}" for word in whole for letter in word[1:]})
    least = len(SPECIALS) + len(single)
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
        special_tokens=[*SPECIALS, *single],
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
