"""A record's operations, those that cost the same counted together: what time is predicted from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from patchword.sizing.tracing.record import Op, Work


class Kind(NamedTuple):
    """What a step's time depends on of an operation."""

    phase: str
    name: str
    work: Work
    read: int
    """Bytes."""
    written: int
    """Bytes."""
    signature: str


Kinds = Counter[Kind]
"""How often each kind runs. Of a deep model told from shallow ones, a kind may count less than zero: an optimizer's one
operation on all weights of the shallow model, in whose place stands that of the deeper one."""


def kinds_of(ops: Iterable[Op]) -> Kinds:
    """Those of a record."""
    return Counter(Kind(op.phase, op.name, op.work, op.read, op.written, op.signature) for op in ops)
