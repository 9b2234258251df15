"""Letters for the sides of tensors, from what the configuration calls them: B batch, N patches, T tokens, D width."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from patchword.config import LanguageHeadConfig, ModelConfig, StackConfig, TextTowerConfig

MEANINGS = {
    "B": "samples in the batch",
    "N": "patches, or vectors that were made elsewhere",
    "T": "tokens",
    "S": "tokens that are looked at",
    "D": "width of a token",
    "H": "heads",
    "G": "heads of keys and values",
    "E": "width of a head",
    "F": "width inside the feed-forward",
    "V": "entries of the vocabulary",
    "K": "classes",
    "C": "channels",
    "h": "height",
    "w": "width in pixels",
}
_BESIDE = "."
"""Stands for a side without a letter."""


@dataclass(frozen=True)
class Alphabet:
    """What the sizes of one part of a model are called."""

    rows: Mapping[str, int]
    """Numbers of rows by letter: `B`, or `5B` where a sample has five texts."""
    lengths: Mapping[str, int] = field(default_factory=dict)
    """Numbers of tokens by letter."""
    heads: Mapping[str, int] = field(default_factory=dict)
    widths: Mapping[str, int] = field(default_factory=dict)
    flat: Collection[str] = ()
    """Lengths that may be one side with the rows: tokens of all samples one after another."""

    def name(self, shape: tuple[int, ...], pixels: bool = False) -> tuple[str, ...]:
        """A letter (or several) for each side; what has none stands as a dot.

        Args:
            shape: the sides.
            pixels: whether it is a picture, [B, C, h, w].
        """
        if not shape:
            return ()
        if pixels and len(shape) == 4:
            return _letter(shape[0], self.rows), "C", "h", "w"
        flat = {f"{r}{t}": n * self.lengths[t] for r, n in self.rows.items() for t in self.flat}
        names = [_letter(shape[0], self.rows, flat, self.widths)]
        for place, size in enumerate(shape[1:], 1):
            if place == len(shape) - 1:
                names.append(_letter(size, self.widths, self.lengths))
            else:
                names.append(_letter(size, self.heads if len(shape) == 4 and place == 1 else self.lengths))
        return tuple(names)


def _letter(size: int, *kinds: Mapping[str, int]) -> str:
    return next((letter for kind in kinds for letter, own in kind.items() if own == size), _BESIDE)


def alphabets(
    model: ModelConfig, batch: int, tokens: Mapping[str, tuple[int, int]], inner: Mapping[str, int]
) -> dict[str, Alphabet]:
    """The letters of each tower, of the trunk, and of all else (`""`).

    Args:
        model: the whole model.
        batch: samples.
        tokens: rows and length of each tower's sequence by its name, and of the `trunk`'s.
        inner: width inside the feed-forward of each tower, and of the `trunk`.
    """
    whose = {name: "T" if isinstance(tower, TextTowerConfig) else "N" for name, tower in model.towers.items()}
    towers = {letter: tokens[name][1] for name, letter in whose.items() if name in tokens}
    whole = tokens["trunk"][1] if "trunk" in tokens else None
    joined = {"N+T": whole} if whole is not None and whole == sum(towers.values()) and len(towers) > 1 else {}
    every = {**joined, **dict(reversed(towers.items()))}
    parts: dict[str, StackConfig] = {**model.towers, **({} if model.trunk is None else {"trunk": model.trunk})}
    found = {}
    for name, stack in parts.items():
        own = {whose[name]: tokens[name][1]} if name in whose and name in tokens else every
        rows = _rows(batch, [tokens[name][0]] if name in tokens else [])
        found[name] = Alphabet(rows, own, _heads(stack), _widths(stack, model, inner.get(name)), own)
    last = found["trunk" if "trunk" in found else next(iter(found))]
    rows = _rows(batch, [n for n, _ in tokens.values()])
    return {**found, "": Alphabet(rows, every, last.heads, last.widths, set(every) & {"T"})}


def _rows(batch: int, counts: Iterable[int]) -> dict[str, int]:
    times = {count // batch for count in counts if batch and count % batch == 0} - {0, 1}
    return {"B": batch} | {f"{t}B": t * batch for t in sorted(times)}


def _heads(stack: StackConfig) -> dict[str, int]:
    own = stack.attention or stack.cross_attention
    return {} if own is None else {"H": own.num_heads, "G": own.num_kv_heads or own.num_heads}


def _widths(stack: StackConfig, model: ModelConfig, inner: int | None) -> dict[str, int]:
    found = {"D": stack.dim}
    own = stack.attention or stack.cross_attention
    if inner is not None:
        found["F"] = inner
    if own is not None:
        width = own.width(stack.dim)
        found |= {"E": width, "HE": own.num_heads * width, "GE": (own.num_kv_heads or own.num_heads) * width}
    if isinstance(stack, TextTowerConfig) and stack.vocab_size is not None:
        found["V"] = stack.vocab_size
    for head in model.heads.values():
        text = model.towers.get(head.text) if isinstance(head, LanguageHeadConfig) else None
        if isinstance(text, TextTowerConfig) and text.vocab_size is not None:
            found.setdefault("V", text.vocab_size)
    return found
