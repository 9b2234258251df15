"""When memory runs out in a step: what was to be expected, what is there, and what would fit, in one message."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from patchword.config import RunConfig, UserError
from patchword.sizing.amounts import in_bytes
from patchword.sizing.planning.fit import largest_batch
from patchword.sizing.tracing.record import Record
from patchword.training.learner import Learner
from patchword.training.rehearsed import rehearsal_of, training_of

_CPU = re.compile("can't allocate memory|not enough memory|std::bad_alloc", re.IGNORECASE)


def ran_out(error: BaseException) -> bool:
    """Whether this is memory that ran out: on CUDA an error of its own, on a CPU one among many of torch's."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and _CPU.search(str(error)) is not None


def account(run: RunConfig, learner: Learner, config: Path) -> str:
    """What a full step of this run needs, part by part, beside what is there, and the largest batch that fits.

    Args:
        run: as it is trained; its model with the vocabulary that it has.
        learner: gradients of the broken step are dropped.
        config: the run's file, for the command that says more.
    """
    learner.optimizer.zero_grad(set_to_none=True)
    kept = _kept(learner)
    room = free_bytes(learner.device)
    there = sum(kept.values()) + room if room is not None else None
    try:
        needed, phases = _needed(run, run.data.batch.size)
    except (UserError, MemoryError, RuntimeError):  # a model that cannot be sized, or no room even for that
        return _lines(Counter(), kept, there)
    lines = [_lines(needed, kept, there)]
    if there is not None:
        command = ["patchword", "size", str(config), "--fit", f"{there // 2**20}MiB"]
        lines += [_advice(run, phases, there), f"See: {shlex.join(command)}"]
    return "\n".join(lines)


def _kept(learner: Learner) -> dict[str, int]:
    """Bytes of what stays from step to step."""
    state = [value for each in learner.optimizer.state.values() for value in each.values()]
    return {
        "parameters": _bytes(learner.model.parameters()),
        "buffers": _bytes(learner.model.buffers()),
        "optimizer": _bytes(value for value in state if isinstance(value, Tensor)),
        "ema": _bytes(learner.ema.mean.values()) if learner.ema is not None else 0,
    }


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


def free_bytes(device: str) -> int | None:
    """What a program may still take; None: the system does not say."""
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(device)[0]
    found = [_available(), _address_space(), _control_group()]
    known = [room for room in found if room is not None]
    return max(min(known), 0) if known else None


def _available() -> int | None:
    found = re.search(r"MemAvailable:\s+(\d+) kB", _read("/proc/meminfo"))
    return int(found[1]) * 1024 if found else None


def _address_space() -> int | None:
    """What `ulimit -v` leaves."""
    limit = re.search(r"Max address space\s+(\d+)", _read("/proc/self/limits"))
    used = re.search(r"VmSize:\s+(\d+) kB", _read("/proc/self/status"))
    return int(limit[1]) - int(used[1]) * 1024 if limit and used else None


def _control_group() -> int | None:
    limit, used = (_read(f"/sys/fs/cgroup/memory.{name}").strip() for name in ("max", "current"))
    return int(limit) - int(used) if limit.isdigit() and used.isdigit() else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _needed(run: RunConfig, batch: int) -> tuple[Counter[str], dict[str, int]]:
    """Bytes at the peak of a step by what they are for, and the peak of each phase."""
    record = _record(run, batch)
    _, place = record.peak()
    parts = Counter[str]()
    for block in record.there(place):
        parts[record.category(block)] += block.size
    return parts, _phases(record)


def _record(run: RunConfig, batch: int) -> Record:
    return training_of(rehearsal_of(run, batch), run, batch)


def _phases(record: Record) -> dict[str, int]:
    peaks: dict[str, int] = {}
    for live, op in zip(record.live(), record.ops, strict=True):
        peaks[op.phase] = max(peaks.get(op.phase, 0), live)
    return peaks


def _lines(needed: Counter[str], kept: Mapping[str, int], there: int | None) -> str:
    """A row a part; of what a step makes and lets go of, only the need is known."""
    names = dict.fromkeys([*(name for name, _ in needed.most_common()), *(n for n, size in kept.items() if size)])
    rows = [
        (name, in_bytes(needed[name]) if needed else "?", in_bytes(kept[name]) if name in kept else "")
        for name in names
    ]
    rows.append(
        ("all", in_bytes(needed.total()) if needed else "?", f"{in_bytes(there)} to have" if there is not None else "?")
    )
    table = [("", "a full batch needs", "there is"), *rows]
    widths = [max(len(row[i]) for row in table) for i in range(3)]
    return "\n".join("  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in table)


def _advice(run: RunConfig, phases: dict[str, int], there: int) -> str:
    size = run.data.batch.size
    if max(phases.values()) <= there:
        return (
            "A step of made-up full batches fits: something else takes memory, or it is in pieces. Try a smaller "
            "data.batch.size."
        )
    fits = largest_batch(lambda batch: _phases(_record(run, batch)), there)
    if fits:
        same = -(-size * run.train.accumulate // fits)
        lines = [f"data.batch.size={fits} fits; for a step of as many samples, train.accumulate={same}."]
    else:
        lines = ["Not even one sample fits."]
    if not run.train.checkpoint_blocks:
        lean = run.replace(train=run.train.replace(checkpoint_blocks=True, compile=False))
        more = largest_batch(lambda batch: _phases(_record(lean, batch)), there)
        if more > fits:
            lines.append(f"With train.checkpoint_blocks=true data.batch.size={more} does.")
    return " ".join(lines)
