"""Classification from the command line: a folder of classes becomes a model that names them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SETTINGS = [
    "model.image.dim=16",
    "model.image.depth=1",
    "model.image.stem=[]",
    "model.image.patch_size=[8,8]",
    "data.batch.size=4",
    "train.steps=2",
    "train.schedule.warmup=1",
    "train.threads=1",
]


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pets")
    random = np.random.default_rng(2)
    for part, count in (("train", 4), ("val", 2)):
        for kind in ("cat", "dog"):
            (folder / part / kind).mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 256, (20, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / kind / f"{i}.png")
    return folder


def test_a_folder_of_classes(call, pets: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = call("train", "classifier-tiny", f"data.source={pets}", *SETTINGS, "--out", run, "--json")
    assert done.code == 0
    assert set(done.json["metrics"]) == {"loss", "accuracy", "calibration_error", "f1_macro", "f1_micro", "auroc"}
    picture = pets / "val" / "cat" / "0.png"
    assert call("predict", run, "--image", picture).out.strip() in ("cat", "dog")
    [said] = call("predict", run, "--image", picture, "--json").json["predictions"]
    assert {choice["text"] for choice in said["choices"]} == {"cat", "dog"}
    assert sum(choice["probability"] for choice in said["choices"]) == pytest.approx(1.0)
    found = call("evaluate", run, "--json").json
    assert (found["split"], found["count"], found["confusion"]["said"]) == ("val", 4, ["cat", "dog"])
    for words, message in (
        (("--image", picture, "--text", "a"), "this model reads no text"),
        ((), "name at least one picture"),
    ):
        refused = call("predict", run, *words)
        assert refused.code == 2
        assert message in refused.err


def test_what_is_wrong_ends_with_2(call, pets: Path, tmp_path: Path) -> None:
    assert call("check", pets, "--task", "classification").code == 0
    wrong = call("check", pets, "--task", "captioning")
    assert (wrong.code, "no table of captions" in wrong.err) == (2, True)
    assert "did you mean 'classification'" in call("check", pets, "--task", "clasification").err
    out = call("train", "captioner-tiny", f"data.source={pets}", "--out", tmp_path / "run")
    assert (out.code, "no table of captions" in out.err) == (2, True)
    flat = pets / "train" / "cat"
    out = call("train", "classifier-tiny", f"data.source={flat}", "--out", tmp_path / "run")
    assert (out.code, "nothing tells classes" in out.err) == (2, True)
    sized = call("size", "classifier-tiny", "--mode", "generate")
    assert (sized.code, "says nothing token by token" in sized.err) == (2, True)


def test_presets_say_their_source(call) -> None:
    rows = {row["name"]: row for row in call("presets", "--json").json}
    assert rows["ref/004-vit-linformer"]["parameters"] == 2_851_842
    assert rows["ref/004-vit-linformer"]["source"].startswith("vit-pytorch")
    assert rows["captioner-tiny"]["source"] == "patchword"
    assert "Dosovitskiy et al. 2020" in call("presets").out
