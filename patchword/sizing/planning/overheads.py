"""What a device's memory holds beside tensors: the program on the device, libraries, what the allocator rounds up.

For CUDA nothing here was measured on a GPU: each row is a range from what is published, and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from patchword.sizing.planning.devices import Device

MIB = 2**20
NOT_MEASURED = "not measured on a GPU here"


class Overhead(NamedTuple):
    """A part of memory that is no tensor of the model's."""

    name: str
    low: int
    """Bytes at least."""
    high: int
    """Bytes at most."""
    why: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"name": self.name, "bytes": [self.low, self.high], "why": self.why}


def overheads(device: Device | None, tensors: int, blocks: Sequence[int] | None = None) -> tuple[Overhead, ...]:
    """What comes on top of `tensors` bytes on a device; None or a CPU: nothing, memory is what is given to tensors.

    Args:
        device: where.
        tensors: bytes at the peak.
        blocks: sizes of the tensors' storages at the peak, where they are known one by one.
    """
    if device is None or device.kind == "cpu":
        return ()
    if device.kind == "mps":
        whole = device.memory_bytes
        why = "unified memory is shared with the system: Metal advises a program to take two thirds to three quarters"
        return (Overhead("system", whole // 4, -(-whole // 3), f"{why}; {NOT_MEASURED}"),)
    return (
        Overhead("context", 250 * MIB, 600 * MIB, f"CUDA's context and torch's kernels; {NOT_MEASURED}"),
        _cublas(device),
        _rounding(blocks),
        Overhead(
            "segments",
            0,
            40 * MIB + tensors // 10,
            "the allocator takes 2 MiB for small blocks, 20 MiB for those up to 10 MiB, and holes stay between blocks: "
            f"up to a tenth and two segments; {NOT_MEASURED}",
        ),
    )


def _cublas(device: Device) -> Overhead:
    """One workspace for each handle and stream; a second one for cuBLASLt, which newer versions share."""
    hopper = device.capability is not None and device.capability[0] >= 9
    size = 32 * MIB if hopper else 8_320 * 1024
    return Overhead("cuBLAS workspace", size, 2 * size, f"torch's default for this chip, once or twice; {NOT_MEASURED}")


def _rounding(blocks: Sequence[int] | None) -> Overhead:
    if blocks is None:
        return Overhead("rounding", 0, MIB, f"each block up to 512 B; {NOT_MEASURED}")
    lost = sum(-size % 512 for size in blocks)
    return Overhead("rounding", lost, lost, f"{len(blocks):,} blocks, each up to 512 B; {NOT_MEASURED}")


def total(rows: Sequence[Overhead]) -> tuple[int, int]:
    """Least and most of all rows."""
    return sum(row.low for row in rows), sum(row.high for row in rows)


def room(device: Device) -> tuple[int, int]:
    """Bytes that are left for tensors, least and most."""
    low, high = total(overheads(device, 0))
    memory = device.memory_bytes
    least = (memory - high) * 10 // 11 if device.kind == "cuda" else memory - high  # a tenth of tensors goes to holes
    return max(least, 0), max(memory - low, 0)
