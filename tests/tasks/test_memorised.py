"""System 002 as what says text: it learns eight pictures by heart (A002-5)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import patchword
from patchword.data.scenes import SceneWorld

COUNT = 8
SMALL: dict[str, Any] = {
    **{f"model.{part}.dim": 64 for part in ("image", "text", "trunk")},
    "model.image.image_size": [64, 64],
    "model.image.patch_size": [16, 16],
    "model.text.max_len": 64,
    "model.trunk.depth": 2,
    "model.trunk.attention.num_heads": 4,
    "model.trunk.attention.dropout": 0.0,
    "model.trunk.ffn": {"hidden_dim": 128, "dropout": 0.0},
    "model.trunk.residual.dropout": 0.0,
    "model.init": {"kind": "xavier"},
    "model.embed_std": 0.05,
    "data.image.height": 64,
    "data.image.width": 64,
    "data.image.cache": "memory",
    "data.batch.size": COUNT,
    "task.decode.max_len": 60,
    "train.steps": 400,
    "train.threads": 1,
    "train.optimizer.lr": 2e-3,
    "train.schedule.warmup": 20,
}


@pytest.mark.slow
def test_eight_captions_are_said_by_heart(tmp_path: Path) -> None:
    world = SceneWorld()
    captions, rows = [], ["image,caption,split"]
    for i in range(COUNT):
        scene = world.scene("train", i)
        Image.fromarray(world.draw(scene)).save(tmp_path / f"{i}.png")
        captions.append(world.captions(scene)[i % 5])
        rows += [f'{i}.png,"{captions[-1]}",{split}' for split in ("train", "val")]
    (tmp_path / "captions.csv").write_text("\n".join(rows) + "\n")
    source: dict[str, Any] = {"data.source": str(tmp_path)}
    patchword.train("ref/002", tmp_path / "run", report=False, **(SMALL | source))
    model = patchword.load(tmp_path / "run")
    said = [p.text for p in model.predict([tmp_path / f"{i}.png" for i in range(COUNT)])]
    plain = [model.task.tokenizer.decode(model.task.tokenizer.encode(caption)) for caption in captions]  # type: ignore[attr-defined]
    assert said == plain
