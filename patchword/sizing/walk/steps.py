"""A step of the walk through a model, and like steps told once."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from patchword.sizing.walk.calls import Shape

_LONGEST_PATTERN = 4  # steps that are looked for as one repeated pattern


@dataclass(frozen=True)
class Step:
    """A step of the walk, with the steps within it."""

    name: str
    shape: Shape | None
    """Of what it gives."""
    letters: tuple[str, ...]
    """What the sides of that are called."""
    parameters: int = 0
    """Its own and its parts'; each counts where it is first used."""
    products: int = 0
    """FLOPs of products of matrices and convolutions."""
    vector: int = 0
    """FLOPs of all other arithmetic."""
    moved: int = 0
    """Bytes that its operations read and write."""
    count: int = 1
    """How many such steps follow one another; the figures are those of one, bytes their mean."""
    held: bool = True
    """False: it computes nothing, and is there to be seen."""
    parts: tuple[Step, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "name": self.name,
            "shape": None if self.shape is None else list(self.shape),
            "letters": list(self.letters),
            "parameters": self.parameters,
            "flops": {"products": self.products, "vector": self.vector},
            "moved_bytes": self.moved,
            "count": self.count,
            "parts": [part.to_dict() for part in self.parts],
        }


def nothing(step: Step) -> Step:
    """The same step without anything to tell, if that is what it is."""
    return Step(step.name, step.shape, step.letters)


def folded(steps: list[Step]) -> tuple[Step, ...]:
    """Steps in which like ones that follow one another are one."""
    made: list[Step] = []
    at = 0
    while at < len(steps):
        length, count = _repeated(steps, at)
        group = [_mean([steps[at + length * i + place] for i in range(count)]) for place in range(length)]
        if length == 1 or count == 1:
            made.append(replace(group[0], name=_ranged(group[0].name, steps[at + count - 1].name), count=count))
        else:
            sums = (sum(getattr(step, f) for step in group) for f in ("parameters", "products", "vector", "moved"))
            made.append(
                Step("again and again", group[-1].shape, group[-1].letters, *sums, count=count, parts=tuple(group))
            )
        at += length * count
    return tuple(made)


def _repeated(steps: list[Step], at: int) -> tuple[int, int]:
    """The pattern that begins here: how many steps, how often."""
    for length in range(1, _LONGEST_PATTERN + 1):
        pattern, count = [_signature(step) for step in steps[at : at + length]], 1
        while pattern == [_signature(step) for step in steps[at + length * count : at + length * (count + 1)]]:
            count += 1
        if count > 1:
            return length, count
    return 1, 1


def _signature(step: Step) -> Step:
    """A step without its number, and without bytes: the first of several makes masks that the others find made."""
    return replace(step, name=re.sub(r"\d+", "#", step.name), moved=0, parts=tuple(map(_signature, step.parts)))


def _mean(alike: list[Step]) -> Step:
    """One for several that differ in nothing but bytes."""
    parts = tuple(_mean(list(column)) for column in zip(*(step.parts for step in alike), strict=True))
    return replace(alike[0], moved=round(sum(step.moved for step in alike) / len(alike)), parts=parts)


def _ranged(first: str, last: str) -> str:
    """`blocks.0` and `blocks.3` as `blocks.0-3`."""
    number = re.search(r"\d+$", last)
    return f"{first}-{number[0]}" if number and first != last else first
