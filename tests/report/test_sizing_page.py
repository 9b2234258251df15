"""The page about a sizing: it holds together, says what the record says, and nothing in it can become markup."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

import patchword
from patchword import load_config
from patchword.cli import main
from patchword.config import RunError, UserError
from patchword.costs import record_of
from patchword.report.sizing import SizingReport, render_sizing, write_sizing
from patchword.report.sizing_data import at_peak, kinds, peak_at, timeline
from patchword.report.sizing_memory import fitting
from patchword.sizing.planning.devices import device
from patchword.sizing.size import component_of, summarise
from patchword.sizing.tracing.record import BACKWARD, FORWARD, Block, Op, Record, Work
from patchword.sizing.tracing.tally import Flops

HOSTILE = "</title></svg><script>alert('x')</script><img src='https://evil.example/x' onerror=alert(1)> \" & \x00"
SMALL: dict[str, Any] = {
    "model.image.dim": 32, "model.image.depth": 1, "model.text.dim": 32, "model.trunk.dim": 32, "model.trunk.depth": 1,
    "model.image.stem": [], "model.text.vocab_size": 50,
}  # fmt: skip


@pytest.fixture(scope="module")
def report() -> SizingReport:
    run = load_config("captioner-tiny", SMALL)
    measured = {}
    for batch in (1, 4):
        model, record = record_of(run, "train", batch)
        found = summarise(model, record, "train", batch)
        measured[batch] = found.by_phase
    return SizingReport("small", found, record, measured, device("a100-80gb"), "name: small\n")


def toy() -> Record:
    """Three operations: one block there before, one that lives through a phase, one for a single operation."""
    work = Work(10, 8, 1)
    ops = [
        Op("aten.mm", "towers.image.proj", FORWARD, False, work, 4, 6),
        Op("aten.add", "trunk.blocks.0", FORWARD, False, Work(0, 0, 5), 5, 5),
        Op("aten.mm", "towers.image.proj", BACKWARD, False, work, 4, 6),
    ]
    blocks = [
        Block(100, "towers.image.proj", -1, category="parameters"),
        Block(30, "towers.image.proj", 0, died=3),
        Block(7, "trunk.blocks.0", 1, died=2),
    ]
    return Record(ops, blocks)


def test_timeline_has_the_peak_in_any_number_of_columns() -> None:
    for most in (1, 2, 3, 100):
        found = timeline(toy(), most)
        assert found.peak == 137
        assert found.place == 1
        assert max(column.total for column in found.columns) == 137
        assert [found.columns[0].start, found.columns[-1].end] == [0, 3]
        assert all(a.end == b.start for a, b in zip(found.columns, found.columns[1:], strict=False))
    assert found.columns[1].live == {"parameters": 100, "activations": 30, "temporaries": 7}


def test_the_peak_by_component_adds_up() -> None:
    assert at_peak(toy(), component_of) == {
        "image": {"parameters": 100, "activations": 30},
        "trunk": {"temporaries": 7},
    }


def test_operations_of_one_name_are_one_kind() -> None:
    found = {kind.component: kind for kind in kinds(toy(), component_of)}
    assert found["image"][2:] == (2, 18, 20)
    assert found["image"].intensity == 0.9
    assert found["trunk"][1:] == ("aten.add", 1, 5, 10)


def test_between_and_beyond_known_batches_phases_are_lines() -> None:
    measured = {2: {"forward": 100, "backward": 90}, 6: {"forward": 180, "backward": 250}}
    assert peak_at(2, measured) == 100
    assert peak_at(4, measured) == 170
    assert peak_at(10, measured) == 410
    assert fitting(measured, 410) == 10
    assert fitting(measured, 409) == 9
    assert fitting(measured, 5) == 0


def test_what_is_drawn_is_what_was_found(report: SizingReport) -> None:
    parts = at_peak(report.record, component_of)
    assert sum(sum(held.values()) for held in parts.values()) == report.sizing.peak_bytes
    assert timeline(report.record).peak == report.sizing.peak_bytes
    assert fitting(report.measured, report.sizing.peak_bytes) == report.sizing.batch


@pytest.mark.parametrize("name", ["a100-80gb", "t4", "m4-32gb", "this-machine"])
def test_the_page_holds_together(report: SizingReport, name: str, parse: Any) -> None:
    page = parse(text := render_sizing(dataclasses.replace(report, device=device(name))))
    titles = page.text("h2")
    for title in ("Memory", "Memory by batch", "Arithmetic", "Components", "What is not counted"):
        assert title in titles
    drawings = page.all("svg")
    assert len(drawings) == (4 if name == "this-machine" else 5)
    assert all(d["role"] == "img" and d["aria-label"] for d in drawings)
    assert "NaN" not in text
    assert "nan" not in re.findall(r'(?:x|y|d|cx|cy|r|width)="([^"]*)"', text)
    for d in re.findall(r' d="([^"]*)"', text):
        assert re.fullmatch(r"[MLZ0-9. -]+", d)
    assert name in page.text("svg") or name == "this-machine"


def test_the_page_needs_nothing_else(report: SizingReport, parse: Any) -> None:
    text = render_sizing(dataclasses.replace(report, title=HOSTILE, config_yaml=f"name: {HOSTILE}"))
    page = parse(text)
    assert not page.all("script")
    assert not page.all("img")
    assert {a["href"][0] for a in page.all("a")} == {"#"}
    assert not re.search(r'(?:src|href)="(?!#|data:,)', text)
    assert "alert('x')" in page.text("h1")


def test_hostile_components_stay_text(report: SizingReport, parse: Any) -> None:
    parts = tuple(part._replace(name=HOSTILE) for part in report.sizing.components)
    sizing = report.sizing._replace(components=parts, uncounted={HOSTILE: 2})
    blocks = [dataclasses.replace(b, module=f"{HOSTILE.replace('.', '')}.x") for b in report.record.blocks]
    ops = [dataclasses.replace(op, module=f"{HOSTILE.replace('.', '')}.x") for op in report.record.ops]
    page = parse(render_sizing(dataclasses.replace(report, sizing=sizing, record=Record(ops, blocks))))
    assert not page.all("script")
    assert not page.all("img")
    assert "(2x)" in page.text("li")


def test_a_step_without_operations_or_flops_has_a_page(report: SizingReport, parse: Any) -> None:
    empty = report.sizing._replace(components=(), total=report.sizing.total._replace(flops=Flops()))
    page = parse(render_sizing(dataclasses.replace(report, sizing=empty, record=Record())))
    assert "Components" in page.text("h2")
    still = [op for op in report.record.ops if not any(op.work[:3])]
    page = parse(
        render_sizing(
            dataclasses.replace(report, record=Record(still, [Block(64, "trunk", -1, category="parameters")]))
        )
    )
    assert "Memory" in page.text("h2")


def test_the_file_is_whole_or_not_there(report: SizingReport, tmp_path: Path) -> None:
    write_sizing(tmp_path / "page.html", report)
    assert (tmp_path / "page.html").read_text(encoding="utf-8").endswith("</html>\n")
    with pytest.raises(RunError, match="cannot write"):
        write_sizing(tmp_path / "no" / "page.html", report)


def test_the_command_writes_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str], parse: Any) -> None:
    out = tmp_path / "page.html"
    settings = [f"{key}={value}" for key, value in SMALL.items()]
    assert main(["size", "captioner-tiny", *settings, "--batch", "2", "--html", str(out), "--device", "T4"]) == 0
    assert "batch of 2" in capsys.readouterr().out
    page = parse(out.read_text(encoding="utf-8"))
    assert "batch of 2" in page.text("header")
    assert "of t4 in fp32" in page.text("figcaption")
    assert main(["size", "captioner-tiny", *settings, "--batch", "0", "--html", str(out)]) == 2
    assert "at least one sample" in capsys.readouterr().err
    assert main(["size", "captioner-tiny", *settings, "--html", str(tmp_path / "no" / "page.html")]) == 1
    assert main(["size", "captioner-tiny", "--html", str(out), "--device", "h20"]) == 2
    assert "h200" in capsys.readouterr().err
    assert main(["size", "captioner-tiny", "--device", "h200"]) == 2
    assert "--html" in capsys.readouterr().err


def test_a_device_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a100-80gb"):
        patchword.size_report("captioner-tiny", tmp_path / "page.html", device="a100-80g")


def test_notebooks_show_a_table_in_which_names_stay_text(report: SizingReport, parse: Any) -> None:
    found = report.sizing._replace(components=(report.sizing.total._replace(name=HOSTILE),), uncounted={HOSTILE: 3})
    page = parse(found._repr_html_())
    assert not page.all("script")
    assert f"{report.sizing.total.parameters:,}" in page.text("td")
    assert "Peak" in page.text("p")
    assert "(3x)" in page.text("p")
