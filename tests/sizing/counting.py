"""What one run of anything counts, for tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

from patchword.sizing.tracing.record import BACKWARD, FORWARD, Op
from patchword.sizing.tracing.trace import Tracer


class Counted(NamedTuple):
    """FLOPs of a run."""

    forward: int
    """Model FLOPs of the forward pass."""
    backward: int
    hardware: int
    """Of all."""
    vector: int
    ledger: Counter[str]
    """Operations without a formula."""
    ops: list[Op]

    @property
    def model(self) -> int:
        """Both passes."""
        return self.forward + self.backward


def counted(run: Callable[[], Any], model: nn.Module | None = None) -> Counted:
    """Trace `run`, which may use `model`."""
    tracer = Tracer(model if model is not None else nn.Identity())
    with tracer:
        run()
    tracer.close()
    ops = tracer.record.ops
    forward, backward = (
        sum(op.work.model for op in ops if op.phase == phase and not op.again) for phase in (FORWARD, BACKWARD)
    )
    ledger = Counter(op.name for op in ops if not op.work.known)
    return Counted(
        forward, backward, sum(op.work.hardware for op in ops), sum(op.work.vector for op in ops), ledger, ops
    )
