"""What differs where things run: waiting until they are done, and counting their bytes."""

from __future__ import annotations

from collections.abc import Callable

import torch

from benchmarks.peak import peak_bytes


def best_device() -> str:
    """CUDA where it is there."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def waited(run: Callable[[], object], device: torch.device) -> Callable[[], None]:
    """The same, and it returns when the device is done."""

    def done() -> None:
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return done


def most_bytes(run: Callable[[], object], device: torch.device) -> int:
    """The most bytes alive at one time beyond those that were there before; on CUDA with what kernels take inside."""
    if device.type != "cuda":
        return peak_bytes(run)
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    waited(run, device)()
    return torch.cuda.max_memory_allocated(device) - before
