"""Whether the batch that the planner names runs in the memory that it was named for, and the next one does not."""

from __future__ import annotations

import gc
from typing import Any, NamedTuple

import patchword
from benchmarks.sizing.interposer import Interposer
from benchmarks.sizing.measure import bytes_of
from benchmarks.sizing.ours import Inference, Training

_MIB = 2**20


class Plan(NamedTuple):
    """One question to the planner."""

    preset: str
    mode: str
    mib: int
    changes: dict[str, Any]

    @property
    def name(self) -> str:
        """What tells it from the others."""
        said = "".join(f", {name}={value}" for name, value in self.changes.items())
        return f"planner | {self.preset}, {self.mode}{said} | {self.mib} MiB"


PLANS = (
    Plan("captioner-tiny", "train", 64, {}),
    Plan("captioner-tiny", "train", 48, {"train.checkpoint_blocks": True}),
    Plan("captioner-tiny", "train", 48, {"train.optimizer.freeze": ["towers.image.*"]}),
    Plan("captioner-tiny", "train", 64, {"train.accumulate": 2, "train.ema": 0.99}),
    Plan("captioner-tiny", "inference", 16, {}),
    Plan("captioner-small", "train", 384, {}),
    Plan("captioner-prefix-small", "train", 512, {}),
    Plan("layout-single-stream", "train", 48, {}),
    Plan("layout-merged-attention", "train", 64, {}),
)


def check(plan: Plan, interposer: Interposer) -> dict[str, Any]:
    """The batch named, and whether it and the next one get along with the memory."""
    memory = plan.mib * _MIB
    batch = patchword.largest_batch(plan.preset, memory, plan.mode, **plan.changes)
    found = {name: _runs(plan, size, memory, interposer) for name, size in (("fits", batch), ("next_fits", batch + 1))}
    return {"cell": plan.name, "plan": plan.name.split(" | ")[1], "mib": plan.mib, "named": batch, **found}


def _runs(plan: Plan, batch: int, memory: int, interposer: Interposer) -> bool:
    gc.collect()
    subject = (Training if plan.mode == "train" else Inference)(plan.preset, batch, plan.changes)
    step = subject.start()
    step()
    gc.collect()
    try:
        return interposer.cap(step, memory - bytes_of(subject.kept()))
    finally:
        del step
        subject.stop()
