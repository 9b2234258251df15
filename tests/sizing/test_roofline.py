"""Intervals from data sheets, by hand."""

from __future__ import annotations

import pytest
from test_size import plain

import patchword
from patchword.config import UserError
from patchword.sizing.planning.devices import DEVICES, Device, device
from patchword.sizing.timing.roofline import SHARES, rated, roofline, seconds_of
from patchword.sizing.tracing.kinds import Kind, Kinds
from patchword.sizing.tracing.record import Work

GPU = Device("made-up", "cuda", 10**9, {"fp32": 1e12, "tf32": 4e12, "bf16": 8e12}, 1e11, 100.0, None, (8, 0), "nobody")
PRODUCT = Kind("forward", "aten.mm", Work(hardware=10**9), 4 * 10**6, 10**6, "")
SUM = Kind("backward", "aten.add", Work(vector=10**6), 8 * 10**6, 4 * 10**6, "")
VIEW = Kind("forward", "aten.view", Work(), 0, 0, "")


def test_one_operation_is_as_fast_as_its_arithmetic_or_its_bytes_allow() -> None:
    shares = SHARES["cuda"]
    low, high = seconds_of(PRODUCT, GPU, "fp32")
    assert low == pytest.approx(1e9 / (1e12 * shares.matmul.high))
    slow = 1e9 / (1e12 * shares.matmul.low) + 5e6 / (1e11 * shares.bandwidth.low)
    assert high == pytest.approx(slow + shares.kernel.high)
    low, high = seconds_of(SUM, GPU, "fp32")
    assert low == pytest.approx(12e6 / (1e11 * shares.bandwidth.high))
    assert seconds_of(VIEW, GPU, "fp32") == (0.0, 0.0)


def test_numbers_that_are_narrower_are_faster() -> None:
    wide, narrow = (seconds_of(PRODUCT, GPU, precision) for precision in ("fp32", "bf16"))
    assert narrow.low < wide.low
    assert narrow.high < wide.high


def test_convolutions_may_use_the_tensor_cores_in_fp32() -> None:
    convolution = PRODUCT._replace(name="aten.convolution")
    assert seconds_of(convolution, GPU, "fp32").low < seconds_of(PRODUCT, GPU, "fp32").low
    assert seconds_of(convolution, GPU, "fp32").high == seconds_of(PRODUCT, GPU, "fp32").high


def test_an_accelerator_starts_operations_while_others_run_and_a_cpu_does_not() -> None:
    kinds = Kinds({VIEW: 1000, PRODUCT: 1})
    found = roofline(kinds, GPU)
    start = SHARES["cuda"].start
    assert found.low == pytest.approx(max(1001 * start.low, seconds_of(PRODUCT, GPU, "fp32").low))
    assert found.high == pytest.approx(max(1001 * start.high, seconds_of(PRODUCT, GPU, "fp32").high))
    cpu, start = GPU._replace(kind="cpu"), SHARES["cpu"].start
    found = roofline(kinds, cpu)
    assert found.low == pytest.approx(1001 * start.low + seconds_of(PRODUCT, cpu, "fp32").low)
    assert found.source == "data sheet"


def test_phases_add_up() -> None:
    found = roofline(Kinds({PRODUCT: 2, SUM: 3}), GPU)
    assert list(found.phases) == ["forward", "backward"]
    assert found.low == pytest.approx(sum(low for low, _ in found.phases.values()))
    assert found.high == pytest.approx(sum(high for _, high in found.phases.values()))
    assert found.low < found.middle < found.high
    assert roofline(Kinds(), GPU)[:2] == (0.0, 0.0)


def test_what_a_sheet_does_not_say_is_refused() -> None:
    with pytest.raises(UserError, match="says nothing of fp16: there is fp32, tf32, bf16"):
        roofline(Kinds({PRODUCT: 1}), GPU, "fp16")
    with pytest.raises(UserError, match="how fast its memory is"):
        roofline(Kinds({PRODUCT: 1}), GPU._replace(bandwidth=None))


@pytest.mark.parametrize("name", DEVICES)
def test_every_device_of_the_table_has_an_interval_or_says_what_is_missing(name: str) -> None:
    one = device(name)
    if "fp32" not in one.flops:
        with pytest.raises(UserError, match="says nothing of fp32"):
            roofline(Kinds({PRODUCT: 1, SUM: 1}), one)
        return
    found, more = (roofline(Kinds({PRODUCT: count, SUM: 1}), one) for count in (100, 200))
    assert 0 < found.low < found.high
    assert more.low > found.low
    assert more.high > found.high


def test_a_cpu_without_a_sheet_is_rated_by_its_threads() -> None:
    one, two = (rated(device("this-machine"), threads) for threads in (1, 2))
    assert two.flops["fp32"] == pytest.approx(2 * one.flops["fp32"], rel=0.5)  # the clock may change between the two
    assert one.bandwidth is not None
    assert two.bandwidth == pytest.approx(2 * one.bandwidth)
    assert rated(GPU, 2) == GPU


def test_a_size_has_the_interval_of_a_sheet_where_nothing_was_timed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("PATCHWORD_CACHE", str(tmp_path))
    small, large = (patchword.size(plain(), batch=batch).time for batch in (1, 64))
    assert small is not None
    assert large is not None
    assert small.source == "data sheet"
    assert 0 < small.low < small.high < large.high
    assert patchword.size(plain(), batch=1).to_dict()["time"]["step_seconds"] == [small.low, small.high]
