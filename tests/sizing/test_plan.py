"""Plans: intervals that are arithmetic of intervals, kernels by torch's rules, batches that fit, commands."""

from __future__ import annotations

import json
from math import isclose
from pathlib import Path
from typing import Any

import pytest

import patchword
from patchword.cli import main
from patchword.cli.fit import report
from patchword.config import RunConfig, UserError
from patchword.models.presets import load_config
from patchword.sizing.planning.attention import AttentionCall, attention_calls, backend
from patchword.sizing.planning.devices import DEVICES, GIB, device, this_machine
from patchword.sizing.planning.overheads import overheads, room, total
from patchword.sizing.planning.plan import Fitting, Memory, Price, budget, parse_price, step_with
from patchword.sizing.planning.scale import Interval

SMALL: dict[str, Any] = {
    "model.image.dim": 32,
    "model.image.depth": 1,
    "model.text.dim": 32,
    "model.trunk.dim": 32,
    "model.trunk.depth": 1,
    "model.text.vocab_size": 100,
    "data.batch.size": 4,
    "train.steps": 50,
}
WORDS = ["captioner-tiny", *(f"{key}={value}" for key, value in SMALL.items())]


def small(**changes: Any) -> RunConfig:
    return load_config("captioner-tiny", SMALL | {k.replace("__", "."): v for k, v in changes.items()})


# ------------------------------------------------------------------ intervals


def test_a_plan_is_arithmetic_of_its_step() -> None:
    found = patchword.plan(small(), "h100-sxm", devices=4, samples=1000, price="2.5EUR", batch=4)
    assert (found.step_samples, found.steps, found.samples) == (16, 63, 1000)
    low, high = found.step_seconds
    assert 0 < low < high
    assert found.talk_seconds.low > 0
    assert found.hours == Interval(63 * low / 3600, 63 * high / 3600)
    assert found.samples_per_second == Interval(16 / high, 16 / low)
    assert found.cost is not None
    assert isclose(found.cost.high, found.hours.high * 4 * 2.5)
    assert found.energy is not None
    assert isclose(found.energy.high, found.hours.high * 0.7 * 4)
    assert isclose(found.energy.low, found.hours.low * 0.35 * 4)
    plain = found.to_dict()
    assert plain["time"]["step_seconds"] == [low, high]
    assert plain["currency"] == "EUR"
    assert plain["tokens"] == 1000 * found.tokens_per_sample
    assert json.loads(json.dumps(plain)) == plain


def test_budgets() -> None:
    run = small(train__accumulate=3)
    own = patchword.plan(run, "a100-80gb")
    assert (own.step_samples, own.steps, own.samples) == (12, 50, 600)
    words = own.tokens_per_sample
    assert patchword.plan(run, "a100-80gb", tokens=words * 100 + 1).samples == 101
    assert budget(None, None, 7, 3) == 7
    assert budget(None, 7, 1, 3) == 3
    for wrong in ((5, 5, 1, 1), (0, None, 1, 1), (None, 5, 1, 0)):
        with pytest.raises(UserError):
            budget(*wrong)


def test_without_price_or_watts_nothing_is_said_of_them() -> None:
    found = patchword.plan(small(), "m2-16gb")
    assert found.cost is None
    assert found.energy is None
    assert found.to_dict()["energy_kwh"] is None


def test_this_machine_holds_tensors_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATCHWORD_CACHE", str(tmp_path))  # nothing was timed
    found, more = (patchword.plan(small(), "this-machine", batch=batch) for batch in (2, 8))
    assert found.memory.needed == Interval(found.memory.tensors, found.memory.tensors)
    assert found.memory.tensors == patchword.size(small(), batch=2).peak_bytes
    assert found.source == "data sheet"
    assert found.energy is None
    assert more.memory.tensors > found.memory.tensors
    assert more.step_seconds.low > found.step_seconds.low > 0
    assert more.step_seconds.high > found.step_seconds.high


def test_talking_is_hidden_at_best_and_added_at_worst() -> None:
    assert step_with(Interval(2, 5), Interval(1, 3)) == Interval(2, 8)
    assert step_with(Interval(2, 5), Interval(4, 6)) == Interval(4, 11)


@pytest.mark.parametrize(
    ("text", "price"),
    [("2.5", (2.5, "")), ("2.50EUR", (2.5, "EUR")), ("$3", (3, "$")), (" 1 GBP ", (1, "GBP")), ("0", (0, ""))],
)
def test_prices(text: str, price: tuple[float, str]) -> None:
    assert parse_price(text) == Price(*price)


@pytest.mark.parametrize("text", ["", "free", "-2", "$3EUR", "2,5", "1e3"])
def test_wrong_prices(text: str) -> None:
    with pytest.raises(UserError, match="is no price"):
        parse_price(text)


# ------------------------------------------------------------------ memory


def test_overheads_are_ranges_that_say_they_were_not_measured() -> None:
    for row in DEVICES.values():
        found = overheads(row, 10 * GIB)
        assert all(0 <= part.low <= part.high for part in found)
        assert all("not measured on a GPU here" in part.why for part in found)
        least, most = room(row)
        assert 0 < least < most < row.memory_bytes
        assert least + total(overheads(row, least))[1] <= row.memory_bytes
    assert overheads(this_machine(), GIB) == overheads(None, GIB) == ()
    assert room(this_machine()) == (this_machine().memory_bytes,) * 2


def test_blocks_are_rounded_up_to_512_bytes() -> None:
    rows = {part.name: part for part in overheads(device("l4"), 1500, [1, 511, 512, 513])}
    assert rows["rounding"].low == rows["rounding"].high == 511 + 1 + 0 + 511
    assert rows["cuBLAS workspace"].low == (2 * 4096 + 8 * 16) * 1024
    assert overheads(device("h200"), 0)[1].low == 32 * 2**20


@pytest.mark.parametrize(("tensors", "fits"), [(10, "yes"), (10 * GIB, "yes"), (21 * GIB, "perhaps"), (23 * GIB, "no")])
def test_whether_it_fits(tensors: int, fits: str) -> None:
    l4 = device("l4")
    assert Memory(tensors, overheads(l4, tensors), l4.memory_bytes).fits == fits


# ------------------------------------------------------------------ attention

PLAIN = AttentionCall(128, 128, 8, 64, masked=False, causal=True)


@pytest.mark.parametrize(
    ("call", "name", "precision", "chosen"),
    [
        (PLAIN, "a100-80gb", "bf16", "flash"),
        (PLAIN, "a100-80gb", "fp32", "efficient"),
        (PLAIN, "t4", "fp16", "efficient"),
        (PLAIN, "t4", "bf16", "math"),
        (PLAIN, "h100-sxm", "bf16", "cudnn"),
        (PLAIN._replace(head_dim=256), "h100-sxm", "bf16", "flash"),
        (PLAIN._replace(head_dim=264), "a100-80gb", "bf16", "efficient"),
        (PLAIN._replace(head_dim=200), "rtx-4090", "bf16", "efficient"),
        (PLAIN._replace(head_dim=200), "a100-80gb", "bf16", "flash"),
        (PLAIN._replace(head_dim=30), "a100-80gb", "fp32", "math"),
        (PLAIN._replace(head_dim=30), "t4", "fp32", "efficient"),
        (PLAIN._replace(masked=True, causal=False), "rtx-3090", "fp16", "efficient"),
        (PLAIN._replace(keys=64), "a100-80gb", "bf16", "efficient"),
        (PLAIN._replace(keys=64, causal=False), "a100-80gb", "bf16", "flash"),
        (PLAIN, "m1-16gb", "fp32", "math"),
        (PLAIN, "this-machine", "fp32", "flash"),
    ],
)
def test_the_kernel_by_torchs_rules(call: AttentionCall, name: str, precision: str, chosen: str) -> None:
    assert backend(call, device(name), precision) == chosen


def test_inference_knows_no_gradients_of_wide_heads() -> None:
    assert backend(PLAIN._replace(head_dim=200), device("rtx-4090"), "bf16", training=False) == "flash"


def test_calls_of_attention_are_seen_and_counted() -> None:
    import torch
    import torch.nn.functional as F

    q, k = torch.zeros(2, 4, 5, 8), torch.zeros(2, 4, 7, 8)

    def run() -> None:
        for _ in range(3):
            F.scaled_dot_product_attention(q, k, k, attn_mask=torch.ones(5, 7, dtype=torch.bool))
        F.scaled_dot_product_attention(q, q, q, is_causal=True)

    assert attention_calls(run) == {
        AttentionCall(5, 7, 4, 8, True, False): 3,
        AttentionCall(5, 5, 4, 8, False, True): 1,
    }
    assert attention_calls(lambda: None) == {}


def test_a_plan_names_the_kernels_of_its_model() -> None:
    found = patchword.plan(small(), "rtx-4090")
    assert found.attention
    assert {kernel.backend for kernel in found.attention} <= {"efficient", "math"}  # fp32 has no flash
    half = patchword.plan(small(train__precision="bf16"), "rtx-4090")
    assert "flash" in {kernel.backend for kernel in half.attention}


# ------------------------------------------------------------------ batches that fit


def test_the_named_batches_fit_and_the_next_do_not() -> None:
    found = patchword.fit(small(), "6MB", target=100)
    assert found.sure == found.perhaps
    assert found.sure[True] >= found.sure[False] > 0
    assert found.ranks is None
    for checkpointed, batch in found.sure.items():
        run = small(train__checkpoint_blocks=checkpointed)
        peaks = [patchword.size(run, batch=b).peak_bytes for b in (batch, batch + 1)]
        assert peaks[0] <= 6_000_000 < peaks[1]
        again = found.accumulate(checkpointed)
        assert again is not None
        assert (again - 1) * batch < 100 <= again * batch


def test_a_model_too_large_for_one_is_sharded() -> None:
    one = patchword.size(small(train__checkpoint_blocks=True), batch=1).peak_bytes
    found = patchword.fit(small(), one * 9 // 10)
    assert found.sure == {False: 0, True: 0}
    assert found.ranks is not None
    assert found.ranks >= 2
    assert patchword.fit(small(), 1000).ranks is None


def test_a_fitting_in_words_and_as_data() -> None:
    found = Fitting({False: 3, True: 5}, {False: 4, True: 6}, 10, None, device("l4"), device("l4").memory_bytes, ())
    plain = found.to_dict()
    assert plain["plain"] == {"largest_batch": [3, 4], "accumulate": 4}
    assert plain["checkpointed"] == {"largest_batch": [5, 6], "accumulate": 2}
    words = report(found, "l4")
    assert "blocks kept: 3 for sure, up to 4" in words
    assert "10 samples a step with train.accumulate=2" in words
    assert Fitting({False: 0, True: 0}, {False: 0, True: 0}, 10, None, None, 1, ()).accumulate(True) is None


# ------------------------------------------------------------------ commands


def test_plan_prints_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *WORDS, "--device", "RTX 4090", "--samples", "1000", "--price", "0.4EUR", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["device"] == "rtx-4090"
    low, high = found["time"]["step_seconds"]
    assert 0 < low < high
    assert found["memory"]["fits"] == "yes"
    assert main(["plan", *WORDS, "--device", "l4", "--price", "0.4EUR"]) == 0
    out = capsys.readouterr().out
    for word in ("not measured on a GPU here", "efficient", "EUR", "kWh", "fits: yes"):
        assert word in out


def test_scale_prints_a_row_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *WORDS, "--device", "h100-sxm", "--scale", "8,1024", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["scale"]
    assert [row["ranks"] for row in rows] == [8] * 4 + [1024] * 4
    assert all(0 < row["talk_seconds"][0] <= row["talk_seconds"][1] for row in rows)
    assert main(["plan", *WORDS, "--device", "h100-sxm", "--scale", "8"]) == 0
    assert "zero-3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "rtx-4091"], "did you mean 'rtx-4090'"),
        (["--device", "t4", "train.precision=bf16"], "says nothing of bf16"),
        (["--device", "l4", "--samples", "3", "--tokens", "3"], "drop one of them"),
        (["--device", "l4", "--price", "cheap"], "is no price"),
        (["--device", "l4", "--devices", "0"], "at least 1"),
        (["--device", "l4", "--batch", "0"], "at least 1"),
        (["--device", "m1-16gb", "--devices", "2"], "--network"),
        (["--device", "l4", "--scale", "8,x"], "are no ranks"),
        (["--device", "l4", "--scale", "8", "--price", "1"], "--scale tells of one step"),
        (["--device", "l4", "--network", "fast"], "no amount"),
    ],
)
def test_mistakes_end_with_2(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", *WORDS, *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_size_fits_a_device(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = device("l4")._replace(name="tiny", memory_bytes=GIB * 9 // 10)
    from patchword.sizing.planning import devices

    monkeypatch.setattr(devices, "DEVICES", {"tiny": tiny})
    assert main(["size", *WORDS, "--fit", "tiny", "--target-batch", "100000", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    least, most = found["fit"]["plain"]["largest_batch"]
    assert found["batch"] == least < most
    assert found["fit"]["checkpointed"]["accumulate"] <= found["fit"]["plain"]["accumulate"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--fit", "h100-sxn"], "did you mean 'h100-sxm'"),
        (["--fit", "8 parrots"], "no amount of memory"),
        (["--target-batch", "3"], "goes with --fit"),
        (["--fit", "1GiB", "--target-batch", "0"], "at least 1"),
        (["--fit", "1GiB", "--target-batch", "3", "--mode", "inference"], "of a step of training"),
    ],
)
def test_mistakes_of_fit(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["size", *WORDS, *words]) == 2
    assert message in capsys.readouterr().err
