"""What a trace writes down: every operation in order, and every block of memory with its life.

All reports derive from this one record. Times are places in the list of operations: a block that is born at 3 and dies
at 7 is there during operations 3 to 6.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

FORWARD, BACKWARD, OPTIMIZER = "forward", "backward", "optimizer"
PHASES = (FORWARD, BACKWARD, OPTIMIZER)


class Work(NamedTuple):
    """Arithmetic of one operation, in FLOPs: a multiplication and an addition are two."""

    model: int = 0
    """Products of matrices and convolutions that the definition asks for, by the usual convention: attention has the
    whole square of queries and keys, and nothing is computed twice."""
    hardware: int = 0
    """Products that the kernel computes: less where it leaves out what a causal mask hides, more where it computes
    scores again."""
    vector: int = 0
    """Everything else that computes: sums, norms, activations, element by element."""
    known: bool = True
    """False: no formula stands for this operation; it goes to the ledger."""


@dataclass(slots=True)
class Op:
    """One operation that torch dispatched."""

    name: str
    """aten's own: `aten.addmm`."""
    module: str
    """Path of the module whose forward, or whose part of the backward pass, it belongs to; empty: outside of all."""
    phase: str
    """`forward`, `backward` or `optimizer`."""
    again: bool
    """Whether it computes once more what the forward pass had computed (activation checkpointing)."""
    work: Work
    read: int
    """Bytes of its inputs."""
    written: int
    """Bytes of its outputs."""
    signature: str = ""
    """What makes it distinct for its time (signature.py); empty: not asked for."""


@dataclass(slots=True)
class Block:
    """One storage."""

    size: int
    """Bytes."""
    module: str
    born: int
    """Place of the operation that made it; -1: it was there before."""
    died: int | None = None
    """Place of the first operation after its end; None: it is there at the end."""
    category: str = ""
    """`parameters`, `buffers`, `inputs`, `gradients`, `optimizer`, `activations`, `temporaries`,
    or what a kernel takes inside itself: `workspaces`, and `libraries` of what no profiler sees."""


@dataclass
class Record:
    """A whole trace."""

    ops: list[Op] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)
    """Operations whose kernels take memory inside that no rule tells, with how often they run: the peak lacks it."""

    def live(self, without: str = "") -> list[int]:
        """Bytes that are there during each operation, without those of one category."""
        change = [0] * (len(self.ops) + 1)
        for block in self.blocks:
            if without and block.category == without:
                continue
            change[max(block.born, 0)] += block.size
            if block.died is not None:
                change[block.died] -= block.size
        return list(accumulate(change))[:-1]

    def peak(self, without: str = "") -> tuple[int, int]:
        """Most bytes that are there at one time, and the place of that operation; without those of one category."""
        live = self.live(without)
        most = max(live, default=0)
        return most, live.index(most) if live else 0

    def there(self, place: int) -> list[Block]:
        """The blocks that are there during an operation."""
        return [b for b in self.blocks if b.born <= place and (b.died is None or b.died > place)]

    def category(self, block: Block) -> str:
        """What a block is for; what has no name is an activation if it outlives the forward pass that made it."""
        if block.category:
            return block.category
        born = self.ops[block.born]
        end = block.died if block.died is not None else len(self.ops)
        kept = born.phase == FORWARD and any(op.phase != FORWARD for op in self.ops[end - 1 : end])
        return "activations" if kept else "temporaries"
