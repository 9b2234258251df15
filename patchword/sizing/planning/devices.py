"""Devices and what is said of them in public: memory, arithmetic, bandwidth, watts. docs/sizing/devices.md cites rows.

FLOPs are those of dense products, without structured sparsity, accumulated in fp32. What nobody states is None: nothing
is guessed here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from patchword.config import UserError, unknown

GIB = 1024**3
THIS_MACHINE = "this-machine"


class Device(NamedTuple):
    """One accelerator, or one machine's CPU."""

    name: str
    kind: str
    """`cuda`, `mps` or `cpu`."""
    memory_bytes: int
    """What a program can see, as torch reports it; for unified memory, all of it."""
    flops: Mapping[str, float]
    """FLOPs a second of products, by `fp32`, `tf32`, `bf16`, `fp16`, `int8`; absent: not there, or not stated."""
    bandwidth: float | None
    """Bytes a second between the chip and its memory."""
    watts: float | None
    """Most electric power of the board."""
    interconnect: float | None
    """Bytes a second to another such device, in each direction at once."""
    capability: tuple[int, int] | None
    """CUDA's compute capability: which kernels there are."""
    source: str
    """Where the figures come from."""


def _gb(number: float) -> float:
    return number * 1e9


def _flops(
    fp32: float | None = None,
    tf32: float | None = None,
    bf16: float | None = None,
    fp16: float | None = None,
    int8: float | None = None,
) -> dict[str, float]:
    """From TFLOPS."""
    given = {"fp32": fp32, "tf32": tf32, "bf16": bf16, "fp16": fp16, "int8": int8}
    return {name: value * 1e12 for name, value in given.items() if value is not None}


def _nvidia() -> Iterator[Device]:
    ampere = _flops(19.5, 156, 312, 312, 624)
    hopper, hopper_pcie = _flops(67, 494.5, 989.5, 989.5, 1979), _flops(51, 378, 756.5, 756.5, 1513)
    sheet = "NVIDIA A100 Tensor Core GPU data sheet"
    for name, memory, bandwidth in (("a100-40gb", 39.39, 1555), ("a100-80gb", 79.14, 2039)):
        yield Device(name, "cuda", int(memory * GIB), ampere, _gb(bandwidth), 400, _gb(300), (8, 0), f"{sheet}, SXM")
    sheet = "NVIDIA H100 Tensor Core GPU data sheet"
    yield Device("h100-sxm", "cuda", int(79.11 * GIB), hopper, _gb(3350), 700, _gb(450), (9, 0), f"{sheet}, SXM5")
    yield Device("h100-pcie", "cuda", int(79.11 * GIB), hopper_pcie, _gb(2000), 350, _gb(64), (9, 0), f"{sheet}, PCIe")
    sheet = "NVIDIA H200 Tensor Core GPU data sheet, SXM"
    yield Device("h200", "cuda", int(139.72 * GIB), hopper, _gb(4800), 700, _gb(450), (9, 0), sheet)
    flops = _flops(30.3, 60, 121, 121, 242.5)
    yield Device("l4", "cuda", int(22.03 * GIB), flops, _gb(300), 72, _gb(32), (8, 9), "NVIDIA L4 data sheet")
    flops = _flops(8.1, fp16=65, int8=130)
    yield Device("t4", "cuda", int(14.56 * GIB), flops, _gb(320), 70, _gb(16), (7, 5), "NVIDIA T4 product page")
    flops = _flops(35.6, 35.6, 71, 71, 284)
    sheet = "NVIDIA Ampere GA102 GPU architecture white paper"
    yield Device("rtx-3090", "cuda", int(23.68 * GIB), flops, _gb(936), 350, _gb(32), (8, 6), sheet)
    flops = _flops(82.6, 82.6, 165.2, 165.2, 660.6)
    sheet = "NVIDIA Ada GPU architecture white paper"
    yield Device("rtx-4090", "cuda", int(23.61 * GIB), flops, _gb(1008), 450, _gb(32), (8, 9), sheet)
    flops = _flops(104.8, 104.8, 209.5, 209.5, 838)
    sheet = "NVIDIA RTX Blackwell GPU architecture white paper"
    yield Device("rtx-5090", "cuda", int(31.36 * GIB), flops, _gb(1792), 575, _gb(64), (12, 0), sheet)


# Chip, unified memory in GiB, TFLOPS in fp32 (True: Apple states them), GB/s.
_APPLE: tuple[tuple[str, tuple[int, ...], float, bool, float], ...] = (
    ("m1", (8, 16), 2.6, True, 68.25),
    ("m1-pro", (16, 32), 5.2, True, 200),
    ("m1-max", (32, 64), 10.4, True, 400),
    ("m1-ultra", (64, 128), 21, True, 800),
    ("m2", (8, 16, 24), 3.6, True, 100),
    ("m2-pro", (16, 32), 6.8, False, 200),
    ("m2-max", (32, 64, 96), 13.49, False, 400),
    ("m2-ultra", (64, 128, 192), 27.2, True, 800),
    ("m3", (8, 16, 24), 4.1, False, 100),
    ("m3-pro", (18, 36), 7.4, False, 150),
    ("m3-max", (48, 64, 128), 14.2, False, 400),
    ("m4", (16, 24, 32), 4.6, False, 120),
    ("m4-pro", (24, 48, 64), 9.2, False, 273),
    ("m4-max", (48, 64, 128), 18.4, False, 546),
)


def _apple() -> Iterator[Device]:
    """With the most cores that a chip is sold with."""
    for chip, sizes, fp32, apples, bandwidth in _APPLE:
        source = f"Apple, on {chip.upper()}" + ("" if apples else "; FLOPs: the hardware table of huggingface.js")
        for size in sizes:
            memory = size * GIB
            yield Device(f"{chip}-{size}gb", "mps", memory, _flops(fp32), _gb(bandwidth), None, None, None, source)


DEVICES: Mapping[str, Device] = {device.name: device for device in (*_nvidia(), *_apple())}


def device(name: str) -> Device:
    """A device by its name; capitals, spaces and underscores do not matter. `this-machine`: this machine's CPU.

    Raises:
        UserError: there is no row of that name.
    """
    spelt = name.strip().lower().replace(" ", "-").replace("_", "-")
    if spelt == THIS_MACHINE:
        return this_machine()
    if spelt not in DEVICES:
        raise UserError(unknown("device", name, (*DEVICES, THIS_MACHINE)))
    return DEVICES[spelt]


def this_machine() -> Device:
    """This machine's CPU: the memory that the system has, or that a control group leaves to this process.

    What it computes and moves a second is measured, not looked up: `patchword calibrate`.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = Path(limit).read_text(encoding="ascii").strip()
        except OSError:
            continue
        if text.isdigit():
            memory = min(memory, int(text))
    return Device(THIS_MACHINE, "cpu", memory, {}, None, None, None, None, "the operating system")
