"""Amounts of memory and arithmetic as people read them."""

from __future__ import annotations

_FLOPS = (("EFLOP", 1e18), ("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9), ("MFLOP", 1e6), ("kFLOP", 1e3))
_BYTES = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))


def in_flops(count: float) -> str:
    """`4.21 GFLOP`; below a thousand the number itself."""
    for unit, factor in _FLOPS:
        if count >= factor:
            return f"{count / factor:,.2f} {unit}"
    return f"{count:,.0f} FLOP"


def in_bytes(count: float) -> str:
    """`21.4 MiB`, `1.04 GiB`."""
    for unit, factor in _BYTES:
        if count >= factor:
            found = count / factor
            return f"{found:,.{2 if found < 9.995 else 1}f} {unit}"
    return f"{count:,.0f} B"
