"""One record summed up: FLOPs by component, and what is there at the highest moment of each part of a step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from patchword.sizing.tracing.kinds import Kinds, kinds_of
from patchword.sizing.tracing.record import BACKWARD, FORWARD, OPTIMIZER, Op, Record

Name = Callable[[str], str]
"""A module's path to the component that it is of."""


class Flops(NamedTuple):
    """FLOPs of one step, a multiplication and an addition counted as two: docs/sizing/flops.md."""

    forward: int = 0
    """Model FLOPs of the forward pass: products of matrices and convolutions that the definition asks for."""
    backward: int = 0
    """The same of the backward pass."""
    hardware: int = 0
    """Products that kernels compute, in all phases: less where causal ones leave out, more where something is computed
    again."""
    again: int = 0
    """Part of `hardware` that activation checkpointing computes a second time."""
    vector: int = 0
    """All other arithmetic, of all phases."""


class Moment(NamedTuple):
    """What is there at one time."""

    phase: str
    total: int
    """Bytes."""
    parts: dict[tuple[str, str], int]
    """Bytes by category and component."""


class Tally(NamedTuple):
    """What a record says, without the record."""

    flops: dict[str, Flops]
    """By component."""
    moments: dict[str, Moment]
    """The highest moment of each part of the step, by the part's name."""
    uncounted: dict[str, int]
    """Operations that make numbers and for which no formula stands, with how often they run."""
    kinds: Kinds
    """What time is predicted from."""
    unmeasured: dict[str, int]
    """Operations whose kernels take memory inside themselves, nobody knows how much, with how often they run."""

    def highest(self) -> Moment:
        """The peak of all."""
        return max(self.moments.values(), key=lambda moment: moment.total, default=Moment(FORWARD, 0, {}))


def tally(record: Record, name: Name, parts: Sequence[Sequence[str]] | None = None) -> Tally:
    """Sum a record up.

    Args:
        record: the record.
        name: components.
        parts: names of the parts of the step that each operation is of; None: its phase.
    """
    if parts is None:
        parts = [(op.phase,) for op in record.ops]
    uncounted = Counter(op.name for op in record.ops if not op.work.known)
    moments, unmeasured = _moments(record, name, parts), dict(record.unknown)
    return Tally(_flops(record, name), moments, dict(uncounted), kinds_of(record.ops), unmeasured)


def _moments(record: Record, name: Name, parts: Sequence[Sequence[str]]) -> dict[str, Moment]:
    live, highest = record.live(), dict[str, int]()
    for place, (bytes_, keys) in enumerate(zip(live, parts, strict=True)):
        for key in keys:
            if key not in highest or bytes_ > live[highest[key]]:
                highest[key] = place
    wanted: dict[int, dict[tuple[str, str], int]] = {place: {} for place in highest.values()}
    there = Counter[tuple[str, str]]()
    changes: list[list[tuple[tuple[str, str], int]]] = [[] for _ in range(len(record.ops) + 1)]
    for block in record.blocks:
        born = record.ops[block.born] if block.born >= 0 else None
        key = (record.category(block), _part(born, block.module, name))
        changes[max(block.born, 0)].append((key, block.size))
        if block.died is not None:
            changes[block.died].append((key, -block.size))
    for place, changed in enumerate(changes):
        for key, size in changed:
            there[key] += size
        if place in wanted:
            wanted[place] = {key: size for key, size in there.items() if size}
    return {key: Moment(record.ops[at].phase, live[at], wanted[at]) for key, at in highest.items()}


def _part(op: Op | None, module: str, name: Name) -> str:
    """The component of an operation, or of a block that it made; what no module does in an optimizer's step is its."""
    return OPTIMIZER if op is not None and op.phase == OPTIMIZER and not module else name(module)


def _flops(record: Record, name: Name) -> dict[str, Flops]:
    found: dict[str, Flops] = {}
    for op in record.ops:
        model, hardware, vector = op.work[:3]
        if model or hardware or vector:
            part = _part(op, op.module, name)
            forward, backward = (0 if op.again or op.phase != phase else model for phase in (FORWARD, BACKWARD))
            added = (forward, backward, hardware, hardware if op.again else 0, vector)
            found[part] = Flops(*(a + b for a, b in zip(found.get(part, Flops()), added, strict=True)))
    return found
