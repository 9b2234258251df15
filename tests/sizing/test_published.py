"""Published figures are reproduced to the last digit, beside those of models with exactly the same parameters."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

import patchword
from patchword.cli import main
from patchword.config import UserError
from patchword.models.model import count_parameters
from patchword.models.presets import PUBLISHED, preset
from patchword.models.presets.language import gpt_model
from patchword.sizing.published import digit_table, layer_summary, memory_formula
from patchword.sizing.published.traced import look_everywhere

COUNTS = {
    "ref/000-table": 69_042_817,
    "ref/001-nanogpt-cpu": 804_096,
    "ref/001-m8": 209_729,
    "ref/004-vit-linformer": 2_851_842,
    "gpt-small": 124_439_808,
    "gpt-medium": 354_823_168,
}
SMALL_DIGITS: dict[str, Any] = {
    "model.image.image_size": [4, 6],
    "model.image.dim": 24,
    "model.image.depth": 3,
    "model.image.ffn.hidden_dim": 20,
    "model.text.dim": 16,
    "model.trunk.dim": 16,
    "model.trunk.depth": 2,
    "model.trunk.ffn.hidden_dim": 12,
    "model.text.vocab_size": 31,
}


@pytest.fixture(scope="module")
def figures(shared: Path) -> dict[str, Any]:
    return json.loads((shared / "reference/fixtures/sizing.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", PUBLISHED)
def test_models_have_exactly_the_parameters_of_their_originals(name: str) -> None:
    with torch.device("meta"):
        assert count_parameters(PUBLISHED[name]().build()) == COUNTS[name]


# ------------------------------------------------------------------ system 001


def test_the_six_rows_of_the_memory_formula(figures: dict[str, Any]) -> None:
    assert len(figures["memory_formula"]) == 6
    for row in figures["memory_formula"]:
        d = memory_formula.Dimensions(*(row.pop(letter) for letter in "RNDBS"))
        model = gpt_model(d.blocks, d.heads, d.head_dim, d.length)
        assert memory_formula.dimensions_of(model, d.batch) == d
        assert memory_formula.formula(d) == row


def test_the_formula_stands_beside_a_real_trace() -> None:
    found = patchword.published("ref/001-m8", batch=4)
    assert found.published["memory_model"] == 65_536
    assert found.true["parameters"] == COUNTS["ref/001-m8"]
    assert found.true["peak_bytes"] == sum(found.true["by_category"].values())
    held = found.true["by_category"]
    assert held["parameters"] == 4 * COUNTS["ref/001-m8"]
    assert held["optimizer"] >= 2 * held["parameters"]
    inside = 4 * (12 * 64 * 64 + 64 + 256 + 64 + 4 * 64)  # maps; offsets of out, up, down; two norms
    assert found.true["block_parameters"] == inside
    assert [note for note in found.notes if "Left out" in note]
    twice = patchword.published("ref/001-m8", batch=8)
    assert twice.published["memory_activations"] == 2 * found.published["memory_activations"]
    assert twice.true["peak_bytes"] > found.true["peak_bytes"]


# ------------------------------------------------------------------ system 000


def test_the_table_of_system_000(figures: dict[str, Any], shared: Path) -> None:
    found = patchword.published("ref/000-table")
    assert found.published["rows"] == figures["printed_rows"]
    assert found.published["parameters"] == figures["printed_total_params"] == found.true["parameters"] == 69_042_817
    assert found.published["flops_rows_sum"] == figures["printed_sum_of_rows_flops"]
    assert found.published["flops_printed_total"] == figures["printed_total_flops"]
    known = figures["measured_B2_T784"]["analytic"]
    assert found.true["matmul_flops"] == known.pop("total") == 116_856_692_736
    assert found.true["closed_form"] == known
    assert any("140,841,810 x T, is wrong" in note and "2,361,600 more" in note for note in found.notes)
    table = json.loads((shared / "reference/fixtures/s000_param_table.json").read_text(encoding="utf-8"))["table"]
    parts = digit_table.parts_of(PUBLISHED["ref/000-table"]())
    assert {row.name: list(row.shape) for row in digit_table.rows(parts)} == table


def test_words_after_the_picture_are_counted_as_measured(figures: dict[str, Any]) -> None:
    model = PUBLISHED["ref/000-table"]()
    known = figures["measured_B2_T790"]["analytic"]
    total = known.pop("total")
    assert digit_table.closed_form(digit_table.parts_of(model), 2, words=6) == known
    _, record = look_everywhere(model, 2, (28, 28), words=6)
    assert sum(op.work.model for op in record.ops) == total


def test_the_trace_equals_the_closed_form_for_other_sizes() -> None:
    found = patchword.published("ref/000-table", batch=3, **SMALL_DIGITS)
    assert found.true["matmul_flops"] == sum(found.true["closed_form"].values())
    assert found.true["parameters"] == found.published["parameters"]
    assert not any("is wrong" in note for note in found.notes)


# ------------------------------------------------------------------ system 004


def test_the_summary_of_system_004() -> None:
    found = patchword.published("ref/004-vit-linformer")
    said, true = found.published, found.true
    assert (said["layers"], said["parameters"], true["parameters"]) == (187, 2_768_514, 2_851_842)
    assert true["missed"] == {"cls_token": 128, "pos_embedding": 6_400, "proj_k": 38_400, "proj_v": 38_400}
    assert sum(true["missed"].values()) == 83_328
    sizes = [said[name] for name in ("input_mb", "forward_backward_mb", "parameters_mb", "total_mb")]
    assert [f"{size:.2f}" for size in sizes] == ["0.57", "17.12", "10.56", "28.25"]
    assert any("83,328" in note and "proj_k 38,400" in note for note in found.notes)
    assert any("pooled to 64 rows" in note for note in found.notes)
    assert true["by_category"]["optimizer"] >= 8 * 2_851_842


def test_the_187_rows_are_those_of_the_publication(shared: Path) -> None:
    (document,) = (shared / "reference/documents").glob("004_*.txt")
    text = document.read_text(encoding="utf-8")
    printed = re.findall(r"^ *(\w+-\d+) +(\[-1.*?\]) +([\d,]+)$", text, re.MULTILINE)
    rows = patchword.published("ref/004-vit-linformer").rows
    assert len(printed) == 187
    assert [tuple(row) for row in rows[:187]] == printed


def test_fewer_pooled_rows_than_tokens_are_not_warned_of() -> None:
    changes = {"model.image.attention.pooled_len": 16, "model.image.depth": 2}
    found = patchword.published("ref/004-vit-linformer", **changes)
    assert not any("pooled" in note for note in found.notes)
    assert found.true["missed"]["proj_k"] == 2 * 50 * 16
    assert found.published["layers"] == 37
    d = layer_summary.dimensions_of(PUBLISHED["ref/004-vit-linformer"]())
    assert (d.patches, d.depth, d.pooled) == (49, 12, 64)


# ------------------------------------------------------------------ the command


def test_the_command_prints_the_table_or_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["size", "ref/001-m8", "--formula", "published", "--batch", "16"]) == 0
    out = capsys.readouterr().out
    assert "65,536" in out
    assert "4,718,592" in out
    assert main(["size", "ref/001-m8", "--formula", "published", "--batch", "16", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["published"]["total_bytes"] == 4_718_592
    assert found["true"]["parameters"] == 209_729
    assert set(found["rows"][0]) == {"what", "formula", "true"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["captioner-tiny", "--formula", "published"], "gpt-small"),
        (["gpt-smal", "--formula", "published"], "gpt-small"),
        (["gpt-small", "--formula", "guessed"], "published"),
        (["gpt-small", "--formula", "published", "--batch", "0"], "at least one sample"),
        (["gpt-small", "--formula", "published", "--fit", "8GiB"], "--formula"),
        (["gpt-small", "--formula", "published", "train.steps=3"], "should begin with model."),
        (["gpt-small", "--formula", "published", "model.text.depht=3"], "depth"),
        (["gpt-small", "--formula", "published", "model.text.depth=0"], "with attention"),
        (["ref/000-table", "--formula", "published", "model.trunk.position.kind=none"], "system 000"),
        (["ref/000-table", "--formula", "published", "model.image.final_norm=false"], "other tensors"),
        (["ref/004-vit-linformer", "--formula", "published", "model.image.attention.kind=softmax"], "system 004"),
        (["ref/004-vit-linformer", "--formula", "published", "model.image.attention.bias=true"], "other parameters"),
    ],
)
def test_what_cannot_be_compared_is_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["size", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_model_of_other_towers_is_refused() -> None:
    from patchword.sizing.published import compare

    model = preset("gpt-small").model
    towers = {"a": model.towers["text"], "b": model.towers["text"]}
    with pytest.raises(UserError, match="nothing was published"):
        compare("two", model.replace(towers=towers, heads={"text": model.heads["text"].replace(source="a", text="a")}))
