"""Text to token ids and back, around the `tokenizers` library.

A saved tokenizer is a plain `tokenizer.json`, which other libraries read too. Ids 0 to 3 are `<pad> <bos> <eos> <unk>`,
unless the vocabulary holds nothing but text; the same letters inside a text are text, never those ids.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import tokenizers
from tokenizers import processors

from patchword.config import TokenizerConfig, UserError
from patchword.data.tokenizer_kinds import SPECIALS, characters_of, specials_of

_PAD, _BOS, _EOS, _UNK = SPECIALS
_NONE = -1
_PIECE = 1 << 20  # characters of a long text that are looked at together


class Tokenizer:
    """Token ids of texts, with `<bos>` and `<eos>` around them. Can be pickled to worker processes.

    Args:
        core: the library's own.
        special_tokens: whether ids 0 to 3 are special; else the ids of such tokens are -1, which no token has.
    """

    pad_id, bos_id, eos_id, unk_id = range(4)

    def __init__(self, core: tokenizers.Tokenizer, special_tokens: bool = True) -> None:
        self.special_tokens = special_tokens
        core.encode_special_tokens = True  # "<eos>" in a caption must not end it; no file remembers this
        if special_tokens:
            self._add_specials(core)
        else:
            self.pad_id = self.bos_id = self.eos_id = self.unk_id = _NONE
        self._core = core
        self.vocab_size = core.get_vocab_size()

    def _add_specials(self, core: tokenizers.Tokenizer) -> None:
        core.add_special_tokens(list(SPECIALS))
        core.post_processor = processors.TemplateProcessing(  # pyright: ignore[reportAttributeAccessIssue]
            single=f"{_BOS} $A {_EOS}",
            pair=f"{_BOS} $A {_EOS} $B:1 {_EOS}:1",
            special_tokens=[(_BOS, self.bos_id), (_EOS, self.eos_id)],
        )

    def __len__(self) -> int:
        return self.vocab_size

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_json, (self._core.to_str(), self.special_tokens)

    @classmethod
    def train(cls, config: TokenizerConfig, texts: Iterable[str]) -> Self:
        """The tokenizer of these settings for these texts; the same texts give the same file, byte for byte.

        Raises:
            UserError: the texts hold nothing to learn from, or `vocab_size` cannot hold what the kind always needs.
        """
        with _one_thread():
            core: tokenizers.Tokenizer = config.build(map(_well_formed, texts))
        if core.get_vocab_size() == len(specials_of(config)):
            raise UserError(
                f"cannot make a {config.kind} tokenizer: nothing in the training texts is seen often enough"
            )
        core.add_tokens([tokenizers.AddedToken(mark, normalized=False) for mark in config.marks])
        return cls(core, config.special_tokens)

    @classmethod
    def of_characters(cls, symbols: Sequence[str]) -> Self:
        """Single characters, numbered in this order, and no special tokens."""
        return cls(characters_of(symbols), special_tokens=False)

    @classmethod
    def load(cls, path: str | Path, special_tokens: bool | None = True) -> Self:
        """The tokenizer in a `tokenizer.json`.

        Args:
            path: the file.
            special_tokens: whether it should have ours; None: as it is. One without may be another library's.

        Raises:
            UserError: the file is missing or broken, or should have our special tokens and has not.
        """
        try:
            core = tokenizers.Tokenizer.from_str(Path(path).read_text(encoding="utf-8"))
            core.no_truncation()
            core.no_padding()
            if special_tokens is None:
                special_tokens = _has_specials(core)
            if special_tokens:
                core.encode("\U0010ffff", add_special_tokens=False)  # unknown to all: shows whether that has a token
            fault = _fault(core, special_tokens)
        except Exception as error:  # the library raises plain Exception
            raise UserError(f"cannot read tokenizer {path}: {getattr(error, 'strerror', None) or error}") from error
        if fault is not None:
            raise UserError(f"tokenizer {path} was not made by patchword: {fault}")
        return cls(core, special_tokens)

    def save(self, path: str | Path) -> None:
        """Write `tokenizer.json`."""
        Path(path).write_text(self._core.to_str(pretty=True) + "\n", encoding="utf-8")

    def encode(self, text: str, max_len: int | None = None) -> list[int]:
        """Ids with `<bos>` and `<eos>` around; at most `max_len` of them, the last then still `<eos>`."""
        if max_len is not None and max_len < 2:
            raise UserError(f"max_len {max_len}: should be at least 2, for {_BOS} and {_EOS}")
        ids = self._core.encode(_well_formed(text)).ids
        return ids if max_len is None or len(ids) <= max_len else [*ids[: max_len - 1], self.eos_id]

    def encode_stream(self, text: str) -> list[int]:
        """Ids of a text of any length, with nothing around them.

        Raises:
            UserError: it holds what the vocabulary lacks, and there is no token for that.
        """
        ids: list[int] = []
        for piece in _pieces(_well_formed(text)):
            try:
                ids += self._core.encode(piece, add_special_tokens=False).ids
            except Exception as error:  # the library raises plain Exception
                lacking = next((repr(c) for c in piece if not self._knows(c)), "something")
                raise UserError(
                    f"the vocabulary lacks {lacking}, and has no token for what is unknown: "
                    "set data.tokenizer.special_tokens=true"
                ) from error
        return ids

    def _knows(self, character: str) -> bool:
        try:
            self._core.encode(character, add_special_tokens=False)
        except Exception:
            return False
        return True

    def encode_batch(self, texts: Iterable[str], max_len: int | None = None) -> list[list[int]]:
        """`encode` of each text."""
        return [self.encode(text, max_len) for text in texts]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, up to the first `<eos>`; special tokens and ids past the vocabulary say nothing.

        Bytes that are no whole character (a text cut short) become U+FFFD.
        """
        return self._core.decode(list(itertools.takewhile(lambda i: i != self.eos_id, ids)))


def _from_json(text: str, special_tokens: bool) -> Tokenizer:
    return Tokenizer(tokenizers.Tokenizer.from_str(text), special_tokens)


_LINE_END = re.compile(r"(?<=\S)\n(?=\S)")


def _pieces(text: str) -> Iterator[str]:
    """A long text in pieces that no kind of tokenizer tells from the whole: cut where one line follows another."""
    start = 0
    while len(text) - start > _PIECE:
        found = _LINE_END.search(text, start + _PIECE)
        if found is None:
            break
        yield text[start : found.end()]
        start = found.end()
    yield text[start:]


def _has_specials(core: tokenizers.Tokenizer) -> bool:
    return tuple(core.id_to_token(i) for i in range(len(SPECIALS))) == SPECIALS


def _fault(core: tokenizers.Tokenizer, special_tokens: bool) -> str | None:
    """Why a tokenizer cannot be used as one of ours; None where it can."""
    if max(core.get_vocab().values(), default=0) >= core.get_vocab_size():
        return "its ids have gaps"
    if not special_tokens:
        return None
    if not _has_specials(core):
        found = [core.id_to_token(i) for i in range(len(SPECIALS))]
        return f"ids 0 to 3 should be {' '.join(SPECIALS)}, got {' '.join(map(str, found))}"
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
