"""Systems 000 and 002: exactly their parameters; where the originals are right, their very numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from patchword.models.create import create_model, planned_model
from patchword.models.model import Model, count_parameters
from patchword.models.presets import load_config
from patchword.sequence import SequenceInfo, Tokens
from patchword.sizing.published.digit_table import parts_of, rows

HIDDEN = 2048  # their scale of picture features, of a setting that nothing else reads


def counted(name: str, **changes: Any) -> int:
    with torch.device("meta"):
        return count_parameters(create_model(name, **changes))


@pytest.mark.parametrize("vocab", [1000, 10_000, 30_522, 50_257])
def test_parameters_of_system_002(vocab: int) -> None:
    words = {"model.text.vocab_size": vocab}
    assert counted("ref/002-vqa", **words, **{"model.heads.label.num_classes": vocab}) == 43_664_640 + 1537 * vocab
    assert counted("ref/002", **words) == 43_664_640 + 1537 * vocab


def test_parameters_of_system_000() -> None:
    assert counted("ref/000-table") == 69_042_817
    assert counted("ref/000") == 2_587_533
    assert counted("ref/000", **{"model.text.vocab_size": 81}) == 2_587_533
    assert counted("ref/000", **{"model.text.vocab_size": 257_153}) == 266_085_821


@pytest.mark.parametrize(("patch", "places"), [(1, 784), (4, 49), (7, 16)])
def test_places_follow_from_the_patch(patch: int, places: int) -> None:
    with torch.device("meta"):
        model: Any = create_model("ref/000", **{"model.image.patch_size": [patch, patch]})
    assert model.towers["image"].stack.position.table.weight.shape == (places, 4)


# ------------------------------------------------------------------ system 000 against its own numbers


def fixture(shared: Path, name: str) -> dict[str, dict[str, Tensor]]:
    groups: dict[str, dict[str, Tensor]] = {"sd": {}, "in": {}, "out": {}}
    for key, tensor in load_file(shared / "reference" / "fixtures" / f"{name}.safetensors").items():
        group, _, rest = key.partition("/")
        groups.setdefault(group, {})[rest] = tensor
    return groups


def small_digits() -> Model:
    """The preset at the fixture's sizes, with what was wrong in its numbers: no scale of scores, other waves."""
    sizes: dict[str, Any] = {
        "image.dim": 24,
        "image.depth": 2,
        "image.patch_size": [7, 7],
        "image.ffn.hidden_dim": 20,
        "image.mean": [0.0] * 3,
        "image.std": [1.0] * 3,
        "trunk.dim": 16,
        "trunk.depth": 2,
        "trunk.ffn.hidden_dim": 20,
        "trunk.attention.scale": 1.0,
        "trunk.attention.causal": False,
        "trunk.position.theta": 1e8,  # 10,000 ** -(2 i / 2) is 1e8 ** -(2 i / 4)
        "text.min_rows": None,
    }
    sizes |= {f"{name}.{what}": n for name in ("text", "question") for what, n in (("dim", 16), ("vocab_size", 41))}
    model: Model = create_model(planned_model(load_config("ref/000")), **sizes)
    return model.eval()


def test_each_tensor_of_system_000_is_one_of_the_preset(shared: Path) -> None:
    model, theirs = small_digits(), fixture(shared, "s000_A_1183d22")["sd"]
    made = {row.name: row.path for row in rows(parts_of(model.config))}
    ours = {name.replace("towers.question", "towers.text"): p.numel() for name, p in model.named_parameters()}
    assert made.keys() == theirs.keys()
    assert {path: theirs[name].numel() for name, path in made.items()} == ours
    table = json.loads((shared / "reference" / "fixtures" / "s000_param_table.json").read_text())["table"]
    full = rows(parts_of(load_config("ref/000-table").model))
    assert {row.name: list(row.shape) for row in full} == table


@torch.no_grad()
def test_parts_of_system_000_compute_its_numbers(shared: Path) -> None:
    """Our parts, wired as theirs were (without the stream of residuals), give all that theirs gave."""
    model, f = small_digits(), fixture(shared, "s000_A_1183d22")
    state = model.state_dict()
    for row in rows(parts_of(model.config)):
        state[row.path].copy_(f["sd"][row.name].reshape(state[row.path].shape))
    whole: Any = model
    image, trunk = whole.towers["image"], whole.trunk
    tokens = image.embedding(f["in"]["pixel_values"])
    view = image.stack.view(tokens)
    x = image.stack.position.add(tokens.x, view.mask.queries)
    for block in image.stack.blocks:
        seen = block.self_attn.step(block.self_attn.norm(x), view)
        x = block.ffn.step(seen + block.ffn.norm(seen))
    seen = image.stack.norm(x)
    assert (seen - f["out"]["image_tower"]).abs().max() < 1e-5
    mapped = whole.fusion.projectors["image"](seen)
    assert (mapped - f["out"]["projected"]).abs().max() < 1e-5
    ids, valid = f["in"]["input_ids"], f["in"]["attention_mask"].bool()
    words = whole.towers["text"].embedding.table(ids)[:, mapped.shape[1] :]
    x = torch.cat([mapped / math.sqrt(HIDDEN), words], 1)
    assert valid.all(), "they masked nothing: with padding there would be nothing to compare"
    view = trunk.view(Tokens(x, SequenceInfo()))
    for block in trunk.blocks:
        x = block.self_attn.step(x, view) + block.self_attn.norm(x)
        x = block.ffn.step(x) + block.ffn.norm(x)
    scores = whole.heads["text"](Tokens(trunk.norm(x)))[:, -1]
    assert (scores - f["out"]["last_logits"]).abs().max() < 2e-5
    loss = F.cross_entropy(scores, f["in"]["labels"][:, 0])
    assert (loss - f["out"]["loss"]).abs() < 1e-5


# ------------------------------------------------------------------ system 002


@torch.no_grad()
def test_an_answer_follows_its_own_picture_alone() -> None:
    sizes = {"model.text.vocab_size": 30, "model.heads.label.num_classes": 5, "model.trunk.depth": 2}
    sizes |= {f"model.{part}.dim": 24 for part in ("image", "text", "trunk")}
    sizes |= {"model.image.image_size": [32, 32], "model.init.std": 0.3}
    model = create_model("ref/002-vqa", **sizes).double().eval()
    text, pixels = torch.randint(0, 30, (3, 6)), torch.rand(3, 3, 32, 32, dtype=torch.float64)
    before = model({"text": text, "image": pixels}).heads["label"]
    assert torch.equal(before, model({"text": text, "image": pixels}).heads["label"]), "no dropout in eval"
    pixels[0] += 0.5
    moved = (model({"text": text, "image": pixels}).heads["label"] - before).abs().amax(1)
    assert moved[0] > 1e-6
    assert moved[1:].max() < 1e-12
    pixels[0] -= 0.5
    text[1, 0] = (text[1, 0] + 1) % 30
    moved = (model({"text": text, "image": pixels}).heads["label"] - before).abs().amax(1)
    assert moved[1] > 1e-6
    assert moved[[0, 2]].max() < 1e-12
