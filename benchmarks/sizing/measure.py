"""One cell: a real step measured twice over, and what was predicted of it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from torch import Tensor

from benchmarks.sizing import replay
from benchmarks.sizing.interposer import Interposer


class Subject(Protocol):
    """What is measured."""

    def start(self) -> Callable[[], object]:
        """Make everything; what one step is."""
        ...

    def kept(self) -> list[Tensor]:
        """Tensors that are there between steps."""
        ...

    def predict(self) -> tuple[int, int]:
        """The peak in bytes from shapes alone, and without what only oneDNN sees of its memory."""
        ...

    def stop(self) -> None:
        """Let go of everything."""
        ...


def measure(subject: Subject, interposer: Interposer | None) -> dict[str, Any]:
    """Bytes: what is kept, the peak by the profiler's replay, by the interposer (None: not there), and as predicted.

    The first two steps fill caches and make the optimizer's state, the third is counted by the interposer, the fourth
    by the profiler. What stays after the first two and is no tensor of ours is the libraries' own and is left out.
    """
    gc.collect()
    step = subject.start()
    for _ in range(2):
        step()
    gc.collect()
    kept = bytes_of(subject.kept())
    found: dict[str, Any] = {"kept": kept}
    if interposer is not None:
        counted = interposer.count(step)
        found |= {"interposer": kept + counted.tensors, "library": counted.library, "other": counted.plain}
    gc.collect()
    found["profiler"] = kept + replay.peak_bytes(step)
    del step
    subject.stop()
    found["predicted"], found["predicted_seen"] = subject.predict()
    return found


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Of their storages, each counted once."""
    storages = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())
