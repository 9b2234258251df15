"""Choices of how text becomes token ids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from patchword.config.core import Config
from patchword.config.errors import Problem
from patchword.config.numbers import Positive


class TokenizerConfig(Config, family="tokenizer"):
    """How text becomes token ids; trained on the training split only."""

    lowercase: bool = True
    """Whether text is lower-cased first."""
    special_tokens: bool = True
    """Whether there are tokens for padding, start, end and what is unknown; only language modelling can do without."""

    marks: tuple[str, ...] = ()
    """Entries that stand for themselves, whatever the kind: <user>, <assistant>; they come last."""

    def problems(self) -> Iterator[Problem]:
        """Marks that could not be told from text, or from one another."""
        for mark in self.marks:
            if mark != mark.strip() or len(mark) < _SHORTEST_MARK:
                yield Problem("marks", f"{mark!r} should be {_SHORTEST_MARK} characters or more, without blanks around")
            if self.marks.count(mark) > 1 or any(mark != other and mark in other for other in self.marks):
                yield Problem("marks", f"{mark!r} is there twice, or part of another one")

    @property
    def num_specials(self) -> int:
        """Entries that are no text."""
        return _SPECIALS if self.special_tokens else 0

    def most_entries(self) -> int | None:
        """The largest vocabulary that training can give; None: it depends on the data alone."""
        size: int | None = getattr(self, "vocab_size", None)
        return None if size is None else size + len(self.marks)


_SHORTEST_MARK = 3
_SPECIALS = 4  # padding, start, end, unknown


class BytesTokenizerConfig(TokenizerConfig, kind="bytes"):
    """One token a UTF-8 byte."""

    def most_entries(self) -> int:
        """The bytes, the special tokens and the marks."""
        return self.num_specials + 256 + len(self.marks)


class CharactersTokenizerConfig(TokenizerConfig, kind="characters"):
    """One token a character of the training split."""


class BPETokenizerConfig(TokenizerConfig, kind="bpe"):
    """Byte-pair encoding over bytes (Sennrich et al. 2016; GPT-2's byte alphabet)."""

    vocab_size: Positive = 4096
    """Most entries, special tokens and the 256 bytes included."""
    min_frequency: Positive = 2
    """A pair seen less often is not merged."""

    def problems(self) -> Iterator[Problem]:
        """A vocabulary without room for every byte."""
        yield from super().problems()
        yield from _too_few(self.vocab_size, self.num_specials + 256, "the special tokens and the 256 bytes")


class WordPieceTokenizerConfig(TokenizerConfig, kind="wordpiece"):
    """WordPiece (Schuster and Nakajima 2012), words split at blanks and punctuation."""

    vocab_size: Positive = 4096
    """Most entries, special tokens included."""
    min_frequency: Positive = 2
    """A piece seen less often is not made; a character counts wherever it stands."""

    def problems(self) -> Iterator[Problem]:
        """A vocabulary without room for any piece."""
        yield from super().problems()
        yield from _too_few(self.vocab_size, self.num_specials + 1, "the special tokens and one piece")


class WordsTokenizerConfig(TokenizerConfig, kind="words"):
    """Whole words, split at blanks and punctuation; rare ones become the unknown token."""

    vocab_size: Positive = 4096
    """Most entries, special tokens included."""
    min_frequency: Positive = 2
    """A word seen less often is unknown."""
    split: Literal["signs", "blanks"] = "signs"
    """Where words end: signs: at blanks, and punctuation is words of its own; blanks: at blanks alone, and the end of a
    line is a word (for text whose words stand apart already, such as WikiText)."""

    def problems(self) -> Iterator[Problem]:
        """A vocabulary without room for any word."""
        yield from super().problems()
        yield from _too_few(self.vocab_size, self.num_specials + 1, "the special tokens and one word")


def _too_few(vocab_size: int, least: int, what: str) -> Iterator[Problem]:
    if vocab_size < least:
        yield Problem("vocab_size", f"should be at least {least} ({what}), got {vocab_size}")
