from __future__ import annotations

import io
import math
import random
from pathlib import Path

import pytest

from patchword.config import UserError
from patchword.training.display import Lines, Live, describe, duration, folded, number, open_display
from patchword.training.log import MetricsFile, read_metrics


def test_lines_are_appended_and_read(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with path.open("w") as file:
        file.write('{"a": 1}\n')
    metrics = MetricsFile(path)
    metrics.write({"a": math.nan, "b": {"c": math.inf, "d": "ü"}})
    size = metrics.sync()
    metrics.write({"a": 3})
    metrics.close()
    assert list(read_metrics(path)) == [{"a": 1}, {"a": None, "b": {"c": None, "d": "ü"}}, {"a": 3}]
    MetricsFile(path, size).close()  # resuming cuts off what came after the checkpoint
    assert len(list(read_metrics(path))) == 2
    MetricsFile(path, 10**9).close()
    assert len(list(read_metrics(path))) == 2


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = MetricsFile(tmp_path / "metrics.jsonl")
    metrics.write({"a": 1})

    class Full:
        def __init__(self, file: io.FileIO) -> None:
            self.file = file

        def write(self, data: bytes) -> int:
            return self.file.write(data[:3])  # as much as there is room for

        def __getattr__(self, name: str):
            return getattr(self.file, name)

    monkeypatch.setattr(metrics, "_file", Full(metrics._file))
    with pytest.raises(OSError, match="the disk is full"):
        metrics.write({"a": 2})
    monkeypatch.undo()
    metrics.write({"a": 3})
    metrics.close()
    assert list(read_metrics(tmp_path / "metrics.jsonl")) == [{"a": 1}, {"a": 3}]


def test_reading_ends_before_a_half_line_and_names_a_wrong_one(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"a": 1}\n{"a": ')
    assert list(read_metrics(path)) == [{"a": 1}]
    path.write_text('{"a": 1}\n{"a": \n{"a": 2}\n')
    with pytest.raises(UserError, match=r"metrics.jsonl, line 2: not JSON"):
        list(read_metrics(path))


# ------------------------------------------------------------------ for people

TRAIN = {
    "kind": "train",
    "step": 20,
    "loss": 2.34567,
    "lr": 0.0009,
    "samples_per_second": 41234.0,
    "tokens_per_second": 2.5e6,
    "data_wait": 0.031,
}
EVAL = {"kind": "eval", "step": 40, "split": "val", "metrics": {"loss": 1.25, "bleu_4": 0.123456}, "best": True}


def test_plain_lines() -> None:
    out = io.StringIO()
    display = open_display(out)
    assert isinstance(display, Lines)
    display.start(0, 100)
    display.advance(20)
    display.log(TRAIN, 130.0)
    display.log(EVAL, 70.0)
    display.say("bad sample left out: [x].jpg")
    display.stop()
    assert out.getvalue().splitlines() == [
        "step 20/100  loss 2.346  lr 9.00e-04  41.2k samples/s  2.5M tokens/s  data wait 3%  2 min 10 s left",
        "step 40/100  val: loss 1.25  bleu_4 0.1235  (best so far)",
        "bad sample left out: [x].jpg",
    ]


def test_a_terminal_gets_a_bar() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    display = open_display(out)
    assert isinstance(display, Live)
    display.start(10, 100)
    display.advance(20)
    display.log(TRAIN, 130.0)
    display.log(EVAL, 70.0)
    display.say("odd [markup] stays")
    display.answer("heard [you]")
    display.progress.refresh()
    display.stop()
    text = out.getvalue()
    assert "heard [you]  loss 2.346" in text
    assert "step 40/100  val: loss 1.25" in text
    assert "odd [markup] stays" in text
    assert "20/100" in text


@pytest.mark.parametrize("width", [8, 20, 40, 1000])
def test_a_long_line_is_broken_between_figures(width: int) -> None:
    parts = [f"figure{i} {random.random():.4g}" for i in range(9)]
    lines = folded("  ".join(parts), width)
    assert [part for line in lines for part in line.strip().split("  ")] == parts
    assert all(len(line) <= width or "  " not in line.strip() for line in lines)
    assert all(line.startswith("    ") for line in lines[1:])
    assert len(lines) == 1 or width < 1000


def test_nothing_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    display = open_display()
    display.start(0, 10)
    display.log(TRAIN, 1.0)
    display.stop()
    out, err = capsys.readouterr()
    assert out == ""
    assert "loss 2.346" in err


@pytest.mark.parametrize(
    ("value", "said"), [(0.0, "0"), (9999.4, "9999"), (12345.0, "12.3k"), (2e6, "2M"), (1e-7, "1e-07"), (-5e4, "-50k")]
)
def test_numbers(value: float, said: str) -> None:
    assert number(value) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "0 s"), (59.6, "1 min 00 s"), (3599, "59 min 59 s"), (7260.0, "2 h 01 min")]
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_an_evaluation_that_is_not_the_best() -> None:
    assert "best" not in describe(EVAL | {"best": False}, 0.0)
