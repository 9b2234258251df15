"""A key map: which tensors of theirs become which of ours, and how. Read in both directions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from patchword.config import UserError
from patchword.models.convert.transforms import SAME, Transform

Weights = dict[str, Tensor]
"""Tensors by name."""

_SHOWN = 12  # names in a message


class Entry(NamedTuple):
    """Some tensors of theirs are some of ours."""

    theirs: tuple[str, ...]
    """Their names."""
    ours: tuple[str, ...]
    """Our names."""
    how: Transform = SAME
    """What happens to them on the way."""


def linear(theirs: str, ours: str, how: Transform = SAME, bias: bool = True) -> Iterator[Entry]:
    """A module with a weight, and an offset where `bias`."""
    for part in ("weight", "bias") if bias else ("weight",):
        yield Entry((f"{theirs}.{part}",), (f"{ours}.{part}",), how)


def linears(pairs: Mapping[str, str], theirs: str, ours: str, bias: bool = True) -> Iterator[Entry]:
    """Several of them, below two prefixes."""
    for their_name, our_name in pairs.items():
        yield from linear(f"{theirs}.{their_name}", f"{ours}.{our_name}", bias=bias)


def packed(theirs: str, ours: Sequence[str], how: Transform, bias: bool = True) -> Iterator[Entry]:
    """One module of theirs that is several of ours."""
    for part in ("weight", "bias") if bias else ("weight",):
        yield Entry((f"{theirs}.{part}",), tuple(f"{name}.{part}" for name in ours), how)


def renamed(weights: Mapping[str, Tensor], rules: Sequence[tuple[str, str]]) -> Weights:
    """The same tensors under the names that a key map knows.

    Args:
        weights: tensors by name.
        rules: patterns and what takes their place, all applied in turn.

    Raises:
        UserError: two tensors get one name.
    """
    out: Weights = {}
    for name, tensor in weights.items():
        new = name
        for pattern, place in rules:
            new = re.sub(pattern, place, new)
        if new in out:
            raise UserError(f"two tensors are {new} in this layout, one of them {name}")
        out[new] = tensor
    return out


def to_ours(entries: Iterable[Entry], theirs: Mapping[str, Tensor], ignored: Sequence[str] = ()) -> Weights:
    """Their tensors as ours.

    Args:
        entries: the key map.
        theirs: tensors by their names.
        ignored: patterns of names that need not be there and say nothing.

    Raises:
        UserError: tensors are missing, or left over; all are named.
    """
    entries = list(entries)
    wanted = {name for entry in entries for name in entry.theirs}
    missing = [name for name in wanted if name not in theirs]
    left = [n for n in theirs if n not in wanted and not any(re.fullmatch(pattern, n) for pattern in ignored)]
    _complain(missing, left)
    out: Weights = {}
    for entry in entries:
        made = entry.how.to(*(theirs[name] for name in entry.theirs))
        out |= dict(zip(entry.ours, made, strict=True))
    return out


def to_theirs(entries: Iterable[Entry], ours: Mapping[str, Tensor]) -> Weights:
    """Our tensors as theirs; those that another name of ours stands for need not be there.

    Raises:
        UserError: tensors are missing or left over, or the layout cannot be written.
    """
    entries = list(entries)
    stuck = sorted({type(entry.how).__name__ for entry in entries if not entry.how.invertible})
    if stuck:
        raise UserError(f"this layout can be read but not written: {', '.join(stuck)} has no way back")
    wanted = {name for entry in entries for name in entry.ours}
    _complain([name for name in wanted if name not in ours], [name for name in ours if name not in wanted])
    out: Weights = {}
    for entry in entries:
        made = entry.how.back(*(ours[name] for name in entry.ours))
        out |= dict(zip(entry.theirs, made, strict=True))
    return out


def _complain(missing: Iterable[str], left: Iterable[str]) -> None:
    parts = [f"{word}: {_named(names)}" for word, names in (("missing", missing), ("left over", left)) if names]
    if parts:
        raise UserError("weights do not fit this layout; " + "; ".join(parts))


def _named(names: Iterable[str]) -> str:
    found = sorted(names)
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more
