"""Towers and trunks that start from another run's, or from a converted folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import patchword
from patchword.config import RunConfig, TextTowerConfig, UserError
from patchword.models.model import Model
from patchword.models.presets import load_config
from patchword.models.start import start_from
from patchword.models.weights import save_weights
from patchword.training.files import write_checksums

TINY: dict[str, Any] = {
    "data.scenes.train": 40, "data.scenes.val": 6, "data.batch.size": 8, "data.tokenizer.vocab_size": 300,
    "train.steps": 2, "train.schedule.warmup": 0, "train.threads": 1, "train.save_every": None,
    "model.image.dim": 32, "model.image.depth": 2, "model.image.ffn.hidden_dim": 40,
}  # fmt: skip
CAPTIONS: dict[str, Any] = TINY | {
    "model.image.stem": [], "model.text.dim": 32, "model.trunk.dim": 32, "model.trunk.depth": 2,
    "data.image.height": 32, "data.image.width": 32, "model.image.image_size": [32, 32],
}  # fmt: skip
LABELS: dict[str, Any] = TINY | {"model.image.stem": [], "model.image.patch_size": [16, 16]}


def folder_of(run: RunConfig, path: Path) -> Path:
    """What a run of these settings leaves, without training."""
    config = run.model.replace(
        towers={n: t.replace(vocab_size=20) if t.kind == "text" else t for n, t in run.model.towers.items()},
        heads={n: h.replace(num_classes=3) if h.kind == "label" else h for n, h in run.model.heads.items()},
    )
    path.mkdir(parents=True)
    save_weights(config.build(), path / "model.safetensors")
    (path / "config.json").write_text(json.dumps({"format": 1, "run": run.replace(model=config).to_dict()}))
    write_checksums(path)
    return path


def part(model: Model, name: str) -> dict[str, Tensor]:
    module = model.trunk if name == "trunk" else model.towers[name]
    assert module is not None
    return {key: value.clone() for key, value in module.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture(scope="module")
def captioner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of captioning; tests copy it before they change it."""
    folder = tmp_path_factory.mktemp("runs") / "captions"
    patchword.train("captioner-tiny", folder, report=False, **CAPTIONS)
    return folder


def test_a_classifier_starts_from_a_captioners_tower_and_then_needs_that_run_no_more(
    captioner: Path, tmp_path: Path
) -> None:
    old = tmp_path / "old"
    shutil.copytree(captioner, old)
    settings = LABELS | {"model.image.init_from": str(old), "train.optimizer.freeze": ["towers.image.*"]}
    patchword.train("classifier-tiny", tmp_path / "new", report=False, **settings)
    tower = part(patchword.load(old).model, "image")
    shutil.rmtree(old)
    trained = patchword.load(tmp_path / "new")
    assert same(part(trained.model, "image"), tower)  # frozen: exactly where it started
    assert trained.run.model.towers["image"].init_from == str(old)
    assert trained.evaluate(split="val").count == 6

    longer = settings | {"train.steps": 4}
    patchword.train(tmp_path / "new" / "config.yaml", tmp_path / "new", True, False, **longer)  # never on resume
    assert same(part(patchword.load(tmp_path / "new").model, "image"), tower)


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_again_as_it_began(
    captioner: Path, tmp_path: Path
) -> None:
    settings = LABELS | {"model.image.init_from": str(captioner), "train.optimizer.freeze": ["towers.image.*"]}
    patchword.train("classifier-tiny", tmp_path / "new", report=False, **settings)
    shutil.rmtree(tmp_path / "new" / "checkpoints")
    shutil.rmtree(tmp_path / "new" / "model")
    patchword.train(tmp_path / "new" / "config.yaml", tmp_path / "new", True, False)
    tower = part(patchword.load(captioner).model, "image")
    assert same(part(patchword.load(tmp_path / "new").model, "image"), tower)


def test_text_and_trunk_start_from_a_run_whose_tokenizer_comes_along(captioner: Path, tmp_path: Path) -> None:
    parts: dict[str, Any] = {f"model.{name}.init_from": str(captioner) for name in ("image", "text", "trunk")}
    other = {"data.scenes.seed": 7, "data.scenes.train": 60}  # of this data another tokenizer would be made
    once: dict[str, Any] = CAPTIONS | other | {"train.steps": 1}
    patchword.train("captioner-tiny", tmp_path / "new", report=False, **once | parts)
    patchword.train("captioner-tiny", tmp_path / "fresh", report=False, **once)
    old, new, fresh = ((path / "model" / "tokenizer.json").read_text() for path in
                       (captioner, tmp_path / "new", tmp_path / "fresh"))  # fmt: skip
    assert new == old
    assert fresh != old

    run = load_config(captioner / "config.yaml", parts)
    text = patchword.load(captioner).model.config.towers["text"]
    assert isinstance(text, TextTowerConfig)
    model = patchword.create_model(run, **{"model.text.vocab_size": text.vocab_size})
    for name in ("image", "text", "trunk"):
        assert same(part(model, name), part(patchword.load(captioner).model, name))
    tied = model.get_parameter("heads.text.proj.weight")
    assert torch.equal(tied, part(model, "text")["embedding.table.weight"])


def test_another_part_is_named_after_the_path(captioner: Path) -> None:
    def settings(start: str) -> dict[str, Any]:
        image = load_config("classifier-tiny", LABELS).model.towers["image"].replace(init_from=start)
        return LABELS | {"model.towers.eye": image.to_dict()}

    model = patchword.create_model("classifier-tiny", **settings(f"{captioner}#image"))
    assert same(part(model, "eye"), part(patchword.load(captioner).model, "image"))
    with pytest.raises(UserError, match=r"model\.eye\.init_from: .*eye.* name another as .*#PART"):
        patchword.create_model("classifier-tiny", **settings(str(captioner)))


@pytest.mark.parametrize("cls_token", [False, True])
def test_tables_of_a_pictures_places_are_resized(cls_token: bool, tmp_path: Path) -> None:
    settings = LABELS | {"model.image.position": "learned", "model.image.cls_token": cls_token}
    sides = {"model.image.image_size": [64, 48], "data.image.height": 64, "data.image.width": 48}
    old = folder_of(load_config("classifier-tiny", settings), tmp_path / "old")
    model = patchword.create_model("classifier-tiny", **settings | sides | {"model.image.init_from": str(old)})
    own, theirs = (part(m, "image")["stack.position.table.weight"] for m in (model, patchword.create_model(old)))
    first = int(cls_token)
    grid = theirs[first:].reshape(2, 2, -1).permute(2, 0, 1)[None]
    expected = F.interpolate(grid, size=(4, 3), mode="bicubic", align_corners=False)[0].permute(1, 2, 0).reshape(12, -1)
    assert torch.equal(own[:first], theirs[:first])
    torch.testing.assert_close(own[first:], expected)


MISFITS = [
    ({"model.image.ffn.hidden_dim": 48}, ["ffn.step.up_proj.weight: [40, 32] there, [48, 32] here", "and 3 more"]),
    ({"model.image.depth": 3}, ["stack.blocks.2", "not there"]),
    ({"model.image.cls_token": True}, ["embedding.cls: not there"]),
]


@pytest.mark.parametrize(("changes", "words"), MISFITS)
def test_parts_that_do_not_fit_name_weights_and_both_shapes(
    changes: dict[str, Any], words: list[str], tmp_path: Path
) -> None:
    old = folder_of(load_config("classifier-tiny", LABELS), tmp_path / "old")
    with pytest.raises(UserError) as caught:
        patchword.create_model("classifier-tiny", **LABELS | changes | {"model.image.init_from": str(old)})
    assert "model.image.init_from: image of" in str(caught.value)
    assert all(word in str(caught.value) for word in words), caught.value


def test_what_is_left_there_and_what_differs_is_told(tmp_path: Path) -> None:
    old = folder_of(load_config("classifier-tiny", LABELS | {"model.image.depth": 3}), tmp_path / "old")
    changes = {"model.image.init_from": str(old), "model.image.ffn.activation": "relu"}
    run = load_config("classifier-tiny", LABELS | changes)
    model = run.model.replace(heads={"label": run.model.heads["label"].replace(num_classes=2)}).build()
    left, differs = start_from(model)
    assert "left in" in left
    assert "stack.blocks.2" in left
    assert "ffn.activation 'gelu' there, 'relu' here" in differs


def test_folders_without_a_model_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(UserError, match=r"model\.image\.init_from: .* holds no model"):
            patchword.create_model("classifier-tiny", **{"model.image.init_from": str(path)})


def test_a_damaged_folder_is_refused_before_anything_is_written(captioner: Path, tmp_path: Path) -> None:
    shutil.copytree(captioner, tmp_path / "old")
    (tmp_path / "old" / "model" / "tokenizer.json").write_text("{}")
    settings: dict[str, Any] = LABELS | {"model.image.init_from": str(tmp_path / "old")}
    with pytest.raises(UserError, match="damaged"):
        patchword.train("classifier-tiny", tmp_path / "new", report=False, **settings)
    assert not (tmp_path / "new").exists()


def test_tokenizers_made_in_another_way_and_folders_without_one(captioner: Path, tmp_path: Path) -> None:
    start: dict[str, Any] = CAPTIONS | {"model.text.init_from": str(captioner), "data.tokenizer.vocab_size": 310}
    with pytest.raises(UserError, match=r"made with other settings: set data\.tokenizer to .*300"):
        patchword.train("captioner-tiny", tmp_path / "new", report=False, **start)
    old = folder_of(load_config("captioner-tiny", CAPTIONS), tmp_path / "old")
    start = CAPTIONS | {"model.text.init_from": str(old)}
    with pytest.raises(UserError, match="has no tokenizer"):
        patchword.train("captioner-tiny", tmp_path / "new", report=False, **start)


def test_random_numbers_are_those_of_a_start_without(tmp_path: Path) -> None:
    """What the other model is made of, to be read into, draws from a state of its own."""
    old = folder_of(load_config("classifier-tiny", LABELS), tmp_path / "old")
    drawn = []
    for start in (None, str(old)):
        torch.manual_seed(3)
        patchword.create_model("classifier-tiny", **LABELS | {"model.image.init_from": start})
        drawn.append(torch.rand(4))
    assert torch.equal(*drawn)


def test_sizing_needs_no_other_run() -> None:
    settings: list[dict[str, Any]] = [LABELS | {"model.image.init_from": start} for start in (None, "gone")]
    plain, started = (patchword.size("classifier-tiny", batch=2, **each) for each in settings)
    assert plain == started
