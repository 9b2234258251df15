"""Steps of optimisers that are one kernel."""

from __future__ import annotations

from patchword.sizing.flops.registry import Call, aten, formula
from patchword.sizing.record import Work


@formula(aten._fused_adamw_, aten._fused_adam_)
def _fused_adamw(call: Call) -> Work:
    return Work(vector=14 * sum(p.numel() for p in call.args[0]))
