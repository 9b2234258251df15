"""The four layouts of two towers: seven blocks each, trained alike; said step by step as at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from patchword.api import train
from patchword.config import GreedyDecodeConfig, ImageTowerConfig, RunConfig
from patchword.models.create import create_model
from patchword.models.decoding import Vocabulary
from patchword.models.generate import generate
from patchword.models.presets import PRESETS, preset
from patchword.nn import Block

LAYOUTS = [name for name in PRESETS if name.startswith("layout-")]
EACH = pytest.mark.parametrize("name", LAYOUTS)
SPECIAL = Vocabulary(bos_id=1, eos_id=2, pad_id=0)
SMALL = {
    "model.image.dim": 32,
    "model.image.stem": [8, 8],
    "model.image.image_size": [32, 32],
    "model.text.dim": 32,
    "model.text.vocab_size": None,
    "model.trunk.dim": 32,
    "data.image.height": 32,
    "data.image.width": 32,
}


def test_there_are_four() -> None:
    assert LAYOUTS == [
        "layout-single-stream",
        "layout-dual-stream",
        "layout-merged-attention",
        "layout-late-fusion",
    ]


@EACH
def test_they_differ_in_nothing_else(name: str) -> None:
    run, tiny = preset(name), preset("captioner-tiny")
    assert run.replace(name=tiny.name, model=tiny.model) == tiny
    with torch.device("meta"):
        model = create_model(name)
    assert sum(isinstance(part, Block) for part in model.modules()) == 7
    assert isinstance(run.model.towers["image"], ImageTowerConfig)
    assert {tower.dim for tower in run.model.towers.values()} == {128}
    assert RunConfig.from_dict(run.to_dict()) == run


@EACH
def test_a_few_steps_of_training(name: str, tmp_path: Path) -> None:
    steps = {"train.steps": 25, "train.log_every": 1, "train.schedule.warmup": 2, "train.threads": 1}
    steps |= {"train.schedule.kind": "constant", "train.optimizer.lr": 4e-3}
    sizes = {"data.batch.size": 8, "data.batch.captions": 1, "data.scenes.train": 64, "data.scenes.val": 4}
    train(name, tmp_path / "run", report=False, **(SMALL | steps | sizes))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    assert len(losses) == 25
    assert sum(losses[-5:]) < 0.85 * sum(losses[:5])


@EACH
@torch.inference_mode()
def test_greedy_equals_recomputation(name: str) -> None:
    wild = {"model.text.vocab_size": 13, "model.init.kind": "normal", "model.init.std": 0.4}
    model = create_model(name, **(SMALL | wild)).eval()
    pictures = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    out = generate(model, {"image": pictures}, GreedyDecodeConfig(max_len=9), SPECIAL)
    assert len({tuple(ids) for ids in out.ids}) > 1, "pictures are looked at"
    for picture, said in zip(pictures, out.ids, strict=True):
        ids = [SPECIAL.bos_id]
        for _ in range(9):
            scores = model({"image": picture[None], "text": torch.tensor([ids])}).heads["text"][0, -1]
            scores[[SPECIAL.pad_id, SPECIAL.bos_id]] = float("-inf")
            ids.append(int(scores.argmax()))
            if ids[-1] == SPECIAL.eos_id:
                break
        assert said == ids[1 : -1 if ids[-1] == SPECIAL.eos_id else None]
