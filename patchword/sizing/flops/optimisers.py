"""Steps of optimisers that are one kernel: FLOPs for each parameter."""

from __future__ import annotations

from patchword.sizing.flops.registry import Call, aten, formula, named, total
from patchword.sizing.tracing.record import Work

_EACH = {"_fused_adamw_": 14, "_fused_adam_": 14, "_fused_sgd_": 4, "_fused_adagrad_": 7}


def _step(call: Call) -> Work:
    name = str(call.func.overloadpacket).removeprefix("aten.")
    return Work(vector=_EACH[name] * total(call.args[0]))


formula(*named(aten, " ".join(_EACH)))(_step)


@formula(*named(aten, "_amp_foreach_non_finite_check_and_unscale_"))
def _unscale(call: Call) -> Work:
    return Work(vector=total(call.args[0]))
