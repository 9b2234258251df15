"""The examples do what they say."""

from __future__ import annotations

import gzip
import runpy
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import patchword
from patchword.config import AttentionConfig, FusionConfig
from patchword.testing import Subject, cases, check_fusion, check_refusals, laws_for

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def mechanism() -> Iterator[Any]:
    yield runpy.run_path(str(EXAMPLES / "add_a_mechanism.py"))["SigmoidAttentionConfig"]
    del AttentionConfig.kinds["sigmoid"]


def test_a_mechanism_takes_forty_lines(mechanism: Any) -> None:
    assert len((EXAMPLES / "add_a_mechanism.py").read_text().splitlines()) <= 40
    assert check_refusals(mechanism()) == ["dropout"]
    for case in list(cases(mechanism()))[::9]:
        for law in laws_for(case):
            law.holds(Subject(case))


def test_it_is_chosen_by_name(mechanism: Any) -> None:
    settings = {"model.text.vocab_size": 40, "model.image.attention": {"kind": "sigmoid", "sharpness": 2.0}}
    model = patchword.create_model("captioner-tiny", **settings)
    attention = model.towers["image"].stack.blocks[0].self_attn.step
    assert attention.mechanism.config.sharpness == 2.0


@pytest.mark.slow
def test_the_mechanism_passes_its_contract_as_a_script() -> None:
    done = subprocess.run([sys.executable, EXAMPLES / "add_a_mechanism.py"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("The contract holds: ")
    assert "A captioner whose image tower uses it" in done.stdout


@pytest.fixture(scope="module")
def fusion() -> Iterator[Any]:
    yield runpy.run_path(str(EXAMPLES / "add_a_fusion.py"))["ProductFusionConfig"]
    del FusionConfig.kinds["product"]


def test_a_fusion_takes_forty_lines(fusion: Any) -> None:
    assert len((EXAMPLES / "add_a_fusion.py").read_text().splitlines()) <= 40
    assert "any_subset_is_finite" in check_fusion(fusion)


def test_a_fusion_is_chosen_by_name(fusion: Any) -> None:
    towers = {"a": {"kind": "text", "vocab_size": 9, "dim": 8}, "b": {"kind": "text", "vocab_size": 9, "dim": 8}}
    heads = {"label": {"kind": "label", "num_classes": 3}}
    model = patchword.create_model({"towers": towers, "fusion": "product", "trunk": {"dim": 8}, "heads": heads})
    assert model.config.fusion == fusion()
    assert model({"a": torch.ones(2, 3, dtype=torch.long)}).heads["label"].shape == (2, 3)


@pytest.mark.slow
def test_the_fusion_obeys_its_contract_as_a_script() -> None:
    done = subprocess.run([sys.executable, EXAMPLES / "add_a_fusion.py"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("obeys: class_facts_are_true")
    assert "answers: [2, 10]" in done.stdout


def test_questions_are_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    toy = {
        "model.image.dim": 32,
        "model.image.depth": 1,
        "model.image.stem": "[]",
        "model.image.patch_size": "[16, 16]",
        "model.image.image_size": "[32, 32]",
        "model.question.dim": 32,
        "model.trunk.dim": 32,
        "model.trunk.depth": 1,
        "data.image.height": 32,
        "data.image.width": 32,
        "data.scenes.train": 8,
        "data.scenes.val": 4,
        "train.steps": 2,
    }
    settings = [f"{name}={value}" for name, value in toy.items()]
    monkeypatch.setattr(sys, "argv", ["ask_pictures.py", "--out", str(tmp_path / "run"), *settings])
    runpy.run_path(str(EXAMPLES / "ask_pictures.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert "accuracy_count" in said
    assert "truth:" in said


def test_lines_of_multi30k_find_their_photos(tmp_path: Path) -> None:
    lines = {"train": ["one", "two", "three", "four"], "val": ["five", "six"]}
    photos = {"train": "11.jpg\n22.jpg\n33.jpg\n44.jpg\n", "val": "55.jpg\n66.jpg"}
    multi30k, flickr8k = tmp_path / "multi30k", tmp_path / "flickr8k"
    (multi30k / "image_splits").mkdir(parents=True)
    flickr8k.mkdir()
    for split, texts in lines.items():
        for language, more in (("en", ""), ("de", " auf Deutsch")):
            text = "".join(f"{line}{more}\n" for line in texts)
            (multi30k / f"{split}.{language}.gz").write_bytes(gzip.compress(text.encode()))
        (multi30k / "image_splits" / f"{split}.txt").write_text(photos[split])
        (multi30k / f"flickr8k_test_overlap.{split}.txt").write_text("3\n" if split == "train" else "")
    with tarfile.open(flickr8k / "images.tar", "w") as tar:
        for photo in ("11", "33", "44", "66", "77"):
            tar.addfile(tarfile.TarInfo(f"Images/{photo}_ab.jpg"))
    folders = [multi30k, flickr8k, tmp_path / "out"]
    command = [sys.executable, EXAMPLES / "multi30k_with_photos.py", *folders]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "train: 2 lines with a photo\nval: 1 lines with a photo\n"
    assert (tmp_path / "out" / "pairs.csv").read_text().splitlines() == [
        "image,source,target,split",
        "Images/11_ab.jpg,one,one auf Deutsch,train",
        "Images/44_ab.jpg,four,four auf Deutsch,train",
        "Images/66_ab.jpg,six,six auf Deutsch,val",
    ]
    done = subprocess.run(
        [*command[:2], tmp_path / "nowhere", *command[3:]], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr
