"""docs/systems.md: every line of its tables is tried, and no option of a published page is forgotten."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
from pointers import ROOT

import patchword
from patchword.config import parse_overrides
from patchword.models.presets import PRESETS, load_config

TEXT = (ROOT / "docs" / "systems.md").read_text(encoding="utf-8")
PRESET_OF = {"System 000: a digit and a question": "ref/000", "Its training command": "ref/003-retrieval"}
PRESET_OF |= {"Its settings": "ref/003-base"}


def rows(heading: str) -> list[list[str]]:
    """Cells of the table under a heading."""
    part = re.split(r"^#+ ", TEXT.split(f"# {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line for line in part.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def settings(cell: str) -> list[str]:
    """The overrides in a cell."""
    words = []
    for code in re.findall(r"`([^`]+)`", cell):
        quoted = re.sub(r"^([\w.]+)=(\{.*\})$", r"'\1=\2'", code)
        words += [word for word in shlex.split(quoted) if re.match(r"(model|data|train|task)\.", word)]
    return words


CASES = [(heading, row) for heading in PRESET_OF for row in rows(heading)]


@pytest.mark.parametrize(("heading", "row"), CASES, ids=[row[0] for _, row in CASES])
def test_a_line_can_be_done(heading: str, row: list[str]) -> None:
    words, name = settings(row[-1]), PRESET_OF[heading]
    assert words or "--out" in row[-1] or "preset" in row[-1]
    if words:
        load_config(name, parse_overrides(words))
    for preset in re.findall(r"`(ref/[^`]+)`", row[-1]):
        assert preset in PRESETS


def test_defaults_of_its_command_line_are_those_of_the_preset() -> None:
    words = [word for row in rows("System 000: a digit and a question") for word in settings(row[-1])]
    shapes = parse_overrides([word for word in words if word.startswith("model.")])
    assert len(shapes) == 9
    assert load_config("ref/000", shapes) == load_config("ref/000")


BESIDE = {
    "000": set(),
    "003": {
        "--eval_batch_size",
        "--weight_decay",
        "--warmup_steps",
        "--gradient_accumulation_steps",
        "--max_grad_norm",
        "--seed",
        "--log_interval",
        "--eval_interval",
        "--save_interval",
        "--resume_from",
        "--fp16",
    },
}
"""Options of the programs that their published pages do not name."""


@pytest.mark.parametrize(
    ("system", "heading"), [("000", "System 000: a digit and a question"), ("003", "Its training command")]
)
def test_no_option_is_forgotten(system: str, heading: str, shared: Path) -> None:
    (document,) = (shared / "reference" / "documents").glob(f"{system}_*.txt")
    asked = set(re.findall(r"(?<![-\w])--[A-Za-z_]\w*", document.read_text(encoding="utf-8")))
    told = {option for row in rows(heading) for option in re.findall(r"`(--\w+)`", row[0])}
    assert asked | BESIDE[system] == told


def test_epochs_and_patches_of_system_000() -> None:
    """A000-5: options that its program ignored, or could not do."""
    run = load_config("ref/000", {"train.epochs": 3, "model.image.patch_size": [4, 4]})
    assert run.train.epochs == 3
    with torch.device("meta"):
        assert patchword.create_model(run, **{"model.text.vocab_size": 81, "model.question.vocab_size": 81}).towers


@pytest.mark.slow
def test_its_code_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """A003-r: the block of the page, as it stands."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    exec(compile(code, "docs/systems.md", "exec"), {})
    assert capsys.readouterr().out == "torch.Size([2, 3000])\n"
