"""How many edits turn what was said into what should have been: rates of characters and words, and exact matches."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np

from patchword.tasks.metrics.words import checked_pairs

_CELLS = 2_000_000  # numbers of a batch of pairs that are held at one time


def edit_rates(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """`cer` and `wer`: edits of characters and of words (Levenshtein) over all references, by the references' length.

    Words are what blanks separate, characters are code points; blanks at the ends count nowhere and any number of them
    as one. Of several references that count which takes the fewest edits, of those the longest. Where the references
    hold nothing, a rate is 0 if nothing was said either, else infinite. Above 1 where too much was said.

    Raises:
        UserError: no candidates, differing lengths, or a candidate without references.
    """
    said, given = _tidied(candidates, references)
    return {
        "cer": _rate([list(text) for text in said], [[list(text) for text in texts] for texts in given]),
        "wer": _rate([text.split() for text in said], [[text.split() for text in texts] for texts in given]),
    }


def exact_match(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Share of candidates (0 to 1) that equal one of their references; blanks as in `edit_rates`.

    Raises:
        UserError: no candidates, differing lengths, or a candidate without references.
    """
    said, given = _tidied(candidates, references)
    return sum(text in texts for text, texts in zip(said, given, strict=True)) / len(said)


def edit_distances(pairs: Sequence[tuple[Sequence[Hashable], Sequence[Hashable]]]) -> np.ndarray:
    """Levenshtein distance of each pair of sequences: insertions, deletions and replacements, int [number of pairs].

    All pairs of a batch at once, one item of the first sequence at a time (Wagner and Fischer 1974).
    """
    numbers: dict[Hashable, int] = {}
    coded = [(_coded(a, numbers), _coded(b, numbers)) for a, b in pairs]
    order = sorted(range(len(pairs)), key=lambda i: (len(coded[i][1]), len(coded[i][0])))
    distances = np.zeros(len(pairs), dtype=np.int64)
    start = 0
    while start < len(order):
        # sorted, so the last pair of a batch is the widest
        stop = start + 1
        while stop < len(order) and (stop + 1 - start) * (len(coded[order[stop]][1]) + 1) <= _CELLS:
            stop += 1
        rows = order[start:stop]
        distances[rows] = _batch([coded[i] for i in rows])
        start = stop
    return distances


def _coded(items: Sequence[Hashable], numbers: dict[Hashable, int]) -> np.ndarray:
    return np.array([numbers.setdefault(item, len(numbers)) for item in items], dtype=np.int64)


def _batch(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    lengths = np.array([[len(a), len(b)] for a, b in pairs])
    firsts, seconds = (_padded([pair[side] for pair in pairs], -1 - side) for side in (0, 1))
    columns = np.arange(seconds.shape[1] + 1)
    row = np.broadcast_to(columns, (len(pairs), len(columns)))
    ends = lengths[:, 1:]
    found = np.take_along_axis(row, ends, 1)[:, 0]
    for i in range(firsts.shape[1]):
        other = np.empty((len(pairs), len(columns)), dtype=np.int64)
        other[:, 0] = i + 1
        other[:, 1:] = np.minimum(row[:, 1:] + 1, row[:, :-1] + (seconds != firsts[:, i : i + 1]))
        # insertions: each place is at most one more than the one before it
        row = np.minimum.accumulate(other - columns, axis=1) + columns
        found = np.where(lengths[:, 0] == i + 1, np.take_along_axis(row, ends, 1)[:, 0], found)
    return found


def _padded(sequences: Sequence[np.ndarray], filler: int) -> np.ndarray:
    out = np.full((len(sequences), max(map(len, sequences))), filler, dtype=np.int64)
    for row, sequence in zip(out, sequences, strict=True):
        row[: len(sequence)] = sequence
    return out


def _rate(said: Sequence[Sequence[str]], given: Sequence[Sequence[Sequence[str]]]) -> float:
    pairs = [(one, other) for one, texts in zip(said, given, strict=True) for other in texts]
    distances = iter(edit_distances(pairs).tolist())
    edits = length = 0
    for texts in given:
        fewest, longest = min((next(distances), -len(text)) for text in texts)
        edits, length = edits + fewest, length - longest
    if not length:
        return 0.0 if not edits else math.inf
    return edits / length


def _tidied(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Every run of blanks as one, none at the ends."""
    checked_pairs(candidates, references)
    return [" ".join(text.split()) for text in candidates], [
        [" ".join(r.split()) for r in texts] for texts in references
    ]
