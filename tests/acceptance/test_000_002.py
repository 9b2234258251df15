"""What systems 000 and 002 have to learn (A000-4, A002-4); docs/results.md has the figures of longer looks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import patchword

DIGITS: dict[str, Any] = {
    **{f"model.{part}.dim": 64 for part in ("image", "question", "text", "trunk")},
    "model.image.depth": 2,
    "model.image.patch_size": [4, 4],
    "data.splits.lists": {"train": "train.txt", "val": "val.txt"},
    "data.batch.size": 32,
    "train.steps": 1000,
    "train.optimizer.lr": 2e-3,
    "train.threads": 1,
}
SHAPES: dict[str, Any] = {
    **{f"model.{part}.dim": 64 for part in ("image", "text", "trunk")},
    "model.image.image_size": [64, 64],
    "model.image.patch_size": [8, 8],
    "model.trunk.depth": 3,
    "model.trunk.attention.num_heads": 4,
    "model.trunk.attention.dropout": 0.0,
    "model.trunk.ffn": {"hidden_dim": 128, "dropout": 0.0},
    "model.trunk.residual.dropout": 0.0,
    "data.image.height": 64,
    "data.image.width": 64,
    "data.image.cache": "memory",
    "train.steps": 1500,
    "train.optimizer.lr": 1e-3,
    "train.threads": 1,
}


@pytest.mark.slow
def test_digits_are_said(shared: Path, tmp_path: Path) -> None:
    for name in ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"):
        shutil.copy(shared / "data" / "mnist" / name, tmp_path / name)
    (tmp_path / "train.txt").write_text("".join(f"train/{i}\n" for i in range(8000)))
    (tmp_path / "val.txt").write_text("".join(f"train/{i}\n" for i in range(55_000, 57_000)))
    source: dict[str, Any] = {"data.source": str(tmp_path)}
    run = patchword.train("ref/000", tmp_path / "run", report=False, **(DIGITS | source))
    assert run.metrics["accuracy"] >= 0.90


@pytest.mark.slow
def test_shapes_are_answered(shared: Path, tmp_path: Path) -> None:
    source: dict[str, Any] = {"data.source": str(shared / "data" / "easy_vqa")}
    run = patchword.train("ref/002-vqa", tmp_path / "run", report=False, **(SHAPES | source))
    assert run.metrics["accuracy"] >= 0.80


@pytest.mark.slow
def test_the_best_preset_answers_almost_all(shared: Path, tmp_path: Path) -> None:
    source: dict[str, Any] = {"data.source": str(shared / "data" / "easy_vqa"), "train.threads": 1, "train.steps": 1500}
    run = patchword.train("vqa-tiny", tmp_path / "run", report=False, **source)
    assert run.metrics["accuracy"] >= 0.97
