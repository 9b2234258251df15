"""Devices: rows that contradict themselves, names that are nearly right, this machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from patchword.config import UserError
from patchword.sizing.planning.devices import DEVICES, GIB, Device, device, this_machine

ROWS = pytest.mark.parametrize("row", DEVICES.values(), ids=lambda row: row.name)


@ROWS
def test_a_row_is_plausible(row: Device) -> None:
    """Units: a factor of a thousand, or of two in the wrong direction, would show."""
    assert 8 * GIB <= row.memory_bytes <= 192 * GIB
    assert 1e12 < row.flops["fp32"] < 2e14
    assert row.bandwidth is not None
    assert 5e10 < row.bandwidth < 1e13
    assert row.source
    assert (row.kind == "cuda") == (row.capability is not None) == (row.watts is not None)


@ROWS
def test_narrower_numbers_are_never_slower(row: Device) -> None:
    speeds = [row.flops[name] for name in ("fp32", "tf32", "bf16", "int8") if name in row.flops]
    assert speeds == sorted(speeds)
    if "bf16" in row.flops:
        assert row.flops["bf16"] == row.flops["fp16"]


@ROWS
def test_the_name_says_the_memory(row: Device) -> None:
    """What torch reports is below what is printed on the box, and by less than a tenth."""
    found = re.search(r"(\d+)gb$", row.name)
    if found is None:
        return
    assert 0.9 * int(found[1]) <= row.memory_bytes / GIB <= int(found[1])


def test_figures_without_sparsity() -> None:
    """H100's sheet says 1,979 TFLOPS in bf16 with sparsity; a dense product has half of it."""
    assert device("h100-sxm").flops["bf16"] == 1979e12 / 2
    assert "bf16" not in device("t4").flops
    assert device("a100-40gb").flops == device("a100-80gb").flops


@pytest.mark.parametrize("name", ["RTX 4090", "rtx_4090", " rtx-4090 ", "Rtx-4090"])
def test_spelling(name: str) -> None:
    assert device(name).name == "rtx-4090"


def test_an_unknown_name() -> None:
    with pytest.raises(UserError, match=r"unknown device 'rtx-4091'; did you mean 'rtx-4090'\?"):
        device("rtx-4091")


def test_this_machine_has_its_memory_and_nothing_looked_up() -> None:
    here = device("this machine")
    assert here == this_machine()
    meminfo = Path("/proc/meminfo")
    if not meminfo.is_file():
        pytest.skip("no /proc/meminfo")
    total = int(re.search(r"MemTotal:\s+(\d+)", meminfo.read_text())[1]) * 1024  # type: ignore[index]
    assert 0 < here.memory_bytes <= total * 1.01
    assert (here.kind, dict(here.flops), here.bandwidth, here.watts) == ("cpu", {}, None, None)


def test_the_page_has_every_row() -> None:
    page = Path(__file__).parents[2] / "docs" / "sizing" / "devices.md"
    lines = page.read_text(encoding="utf-8").splitlines()
    for row in DEVICES.values():
        line = next(text for text in lines if text.startswith(f"| `{row.name}` "))
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[1] == f"{row.memory_bytes / GIB:.2f}"
        for cell, name in zip(cells[2:7], ("fp32", "tf32", "bf16", "fp16", "int8"), strict=True):
            assert cell == (f"{row.flops[name] / 1e12:g}" if name in row.flops else "-")
        assert row.bandwidth is not None
        assert cells[7] == f"{row.bandwidth / 1e9:g}"
