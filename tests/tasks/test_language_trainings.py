"""A001-t: published language models learn what they should, with their own recipes (figures: docs/results.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import patchword

ALONE: dict[str, Any] = {"train.threads": 1, "train.save_minutes": None, "task.continuations": 0}


def shakespeare(shared: Path) -> Path:
    path = shared / "data" / "tinyshakespeare" / "input.txt"
    if not path.is_file():
        pytest.skip("needs ../shared/data/tinyshakespeare")
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "steps", "most"),
    [("ref/001-bigram", 3000, 2.50), ("ref/001-m8", 1000, 2.16), ("ref/001-nanogpt-cpu", 2000, 1.93)],
)
def test_characters_of_plays(preset: str, steps: int, most: float, shared: Path, tmp_path: Path) -> None:
    settings = ALONE | {"data.source": str(shakespeare(shared)), "train.steps": steps, "train.eval_every": None}
    result = patchword.train(preset, tmp_path / "run", report=False, **settings)
    assert result.metrics["loss"] <= most


@pytest.mark.slow
def test_gpt_fast_is_there_with_a_quarter_of_nanogpt_s_steps(shared: Path, tmp_path: Path) -> None:
    settings = ALONE | {"data.source": str(shakespeare(shared))}
    result = patchword.train("gpt-fast", tmp_path / "run", report=False, **settings)
    assert result.steps <= 400
    assert result.metrics["loss"] <= 1.88
