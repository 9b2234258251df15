"""From captions to words: the one place where the metrics cut text."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from patchword.config import UserError

# Soft hyphen, zero-width (non-)joiner, word joiner, byte order mark, variation selectors: they change how
# a word looks, not which word it is.
_INVISIBLE = dict.fromkeys((0x00AD, 0x200C, 0x200D, 0x2060, 0xFEFF, *range(0xFE00, 0xFE10)))


class _WordCharacters(dict[int, int]):
    """Code point -> itself if a word may hold it, else a blank; filled as characters are met."""

    def __missing__(self, code: int) -> int:
        self[code] = code if unicodedata.category(chr(code))[0] in "LMN" else ord(" ")
        return self[code]


_WORD_CHARACTERS = _WordCharacters({ord(c): ord(c) for c in "-.,"} | {0x2010: ord("-")})

# Of the characters that pass _WORD_CHARACTERS, `[^\s.,-]` are letters, digits and marks, `\w` the first two.
_WORD = re.compile(r"\w[^\s.,-]*(?:(?:-|(?<=\d)[.,](?=\d))\w[^\s.,-]*)*")


def caption_words(text: str) -> list[str]:
    """Cut a caption into the words that every metric counts.

    The text is brought to Unicode form NFKC and to lower case. A word is a run of letters, digits and
    combining marks that begins with a letter or digit. One hyphen inside a word stays (`tri-colored`), and
    so does one full stop or comma between two digits (`3.5`, `1,000`). Every other character (punctuation,
    apostrophes and symbols among them) separates words and is dropped: `dog's` and `dog 's` both give
    `dog`, `s`. Cutting the joined words again gives the same words. Scripts written without blanks are not
    segmented.

    Stands in for the PTB tokenizer of coco-caption, which needs Java.
    """
    text = unicodedata.normalize("NFKC", text.translate(_INVISIBLE)).lower()
    return _WORD.findall(unicodedata.normalize("NFKC", text).translate(_WORD_CHARACTERS))


def paired_words(
    candidates: Sequence[str], references: Sequence[Sequence[str]]
) -> list[tuple[list[str], list[list[str]]]]:
    """Words of each candidate and of its references.

    Raises `UserError` for no candidates, differing lengths, or a candidate without references.
    """
    checked_pairs(candidates, references)
    return [
        (caption_words(candidate), [caption_words(reference) for reference in given])
        for candidate, given in zip(candidates, references, strict=True)
    ]


def checked_pairs(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Raises `UserError` for no candidates, differing lengths, or a candidate without references."""
    if isinstance(candidates, str):
        raise UserError("candidates is one string; give a list of captions, one a picture")
    if len(candidates) != len(references):
        raise UserError(f"{len(candidates)} candidates but {len(references)} lists of references: give each its list")
    if not candidates:
        raise UserError("no captions to score: the list of candidates is empty")
    for i, given in enumerate(references):
        # A bare string would pass as a list of one-letter references.
        if isinstance(given, str) or not given:
            raise UserError(f"references[{i}] is {given!r}: give a list of at least one caption")
