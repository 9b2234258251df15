"""What is asked of system 004, ViT with Linformer attention; docs/acceptance.md says which other tests do the rest.

Here: later versions of vit-pytorch (A004-2), counts of Hugging Face's classes (A004-3), how they start and what shapes
they give (A004-4), that a small one learns two classes in 300 steps (A004-5), memory by length (A004-6).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sample_data import draw
from torch import Tensor, nn

import patchword
from patchword.config import LearnedPositionConfig
from patchword.models.convert import LAYOUTS
from patchword.models.create import create_model
from patchword.models.model import Model, count_parameters

# ------------------------------------------------------------------ A004-2


class Theirs(nn.Module):
    """vit-pytorch's `efficient.ViT` from 0.33 on, around linformer 0.2.1's attention, written out."""

    def __init__(self, dim: int, side: int, patch: int, depth: int, heads: int, k: int, classes: int) -> None:
        super().__init__()
        self.patch, self.heads, length = patch, heads, (side // patch) ** 2 + 1
        self.cls_token, self.pos_embedding = (
            nn.Parameter(torch.randn(1, 1, dim)),
            nn.Parameter(torch.randn(1, length, dim)),
        )
        numbers = 3 * patch * patch
        self.to_patch_embedding = nn.Sequential(
            nn.Identity(), nn.LayerNorm(numbers), nn.Linear(numbers, dim), nn.LayerNorm(dim)
        )
        self.transformer = nn.Module()
        self.transformer.net = nn.Module()
        self.transformer.net.layers = nn.ModuleList(
            nn.ModuleList([self._normed(dim, self._look(dim, length, k)), self._normed(dim, self._think(dim))])
            for _ in range(depth)
        )
        self.mlp_head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, classes))
        for weight in self.parameters():
            nn.init.normal_(weight, std=0.3)

    def _normed(self, dim: int, fn: nn.Module) -> nn.Module:
        made = nn.Module()
        made.fn, made.norm = fn, nn.LayerNorm(dim)
        return made

    def _look(self, dim: int, length: int, k: int) -> nn.Module:
        made = nn.Module()
        made.to_q, made.to_k, made.to_v = (nn.Linear(dim, dim, bias=False) for _ in range(3))
        made.to_out = nn.Linear(dim, dim)
        made.proj_k, made.proj_v = nn.Parameter(torch.empty(length, k)), nn.Parameter(torch.empty(length, k))
        return made

    def _think(self, dim: int) -> nn.Module:
        made = nn.Module()
        made.w1, made.w2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        return made

    def forward(self, image: Tensor) -> Tensor:
        p = self.patch
        cut = image.unfold(2, p, p).unfold(3, p, p)  # [B, C, rows, columns, p, p]
        x = self.to_patch_embedding(cut.permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2))
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embedding
        for look, think in self.transformer.net.layers:  # pyright: ignore
            x = x + self._attend(look.fn, look.norm(x))
            x = x + think.fn.w2(F.gelu(think.fn.w1(think.norm(x))))
        return self.mlp_head(x[:, 0])

    def _attend(self, look: Any, x: Tensor) -> Tensor:
        def split(t: Tensor) -> Tensor:
            return t.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        k, v = (split(pool.mT @ to(x)) for pool, to in ((look.proj_k, look.to_k), (look.proj_v, look.to_v)))
        q = split(look.to_q(x))
        weights = (q @ k.mT * q.shape[-1] ** -0.5).softmax(-1)
        return look.to_out((weights @ v).transpose(1, 2).flatten(2))


@torch.no_grad()
def test_later_versions_have_norms_around_the_patch_map() -> None:
    theirs = Theirs(dim=32, side=32, patch=8, depth=2, heads=4, k=6, classes=2).double().eval()
    sizes = {
        "dim": 32,
        "image_size": 32,
        "patch_size": 8,
        "depth": 2,
        "heads": 4,
        "k": 6,
        "seq_len": 17,
        "num_classes": 2,
    }
    read = LAYOUTS["vit-linformer"].read(sizes, theirs.state_dict())
    model: Model = read.config.build()
    model.double().load_state_dict(read.weights)
    image = torch.rand(3, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(model.eval()({"image": image}).heads["label"], theirs(image), atol=1e-9, rtol=1e-9)


def test_the_size_of_later_versions() -> None:
    norms = {"model.image.patch_norm": True, "model.image.embed_norm": True}
    with torch.device("meta"):
        assert count_parameters(create_model("ref/004-vit-linformer", **norms)) == 2_858_242


# ------------------------------------------------------------------ A004-3, A004-4


def test_counts_of_its_classes() -> None:
    """ViTModel, a pooler, and heads for 2 and for 1,000 classes."""
    with torch.device("meta"):
        two, many, pooled = (
            create_model("ref/004-vit-base", **changes)
            for changes in ({}, {"model.heads.label.num_classes": 1000}, {"model.heads.label.transform": "tanh"})
        )
    assert count_parameters(two.towers) == 85_798_656
    assert count_parameters(two) == 85_800_194
    assert count_parameters(many) == 86_567_656
    assert count_parameters(pooled) - count_parameters(two.get_submodule("heads.label.proj")) == 86_389_248


def test_its_embeddings() -> None:
    """Patches (B, 196, 768), with cls (B, 197, 768); cls and places start at zero: all comes from the pixels."""
    model = create_model("ref/004-vit-base", **{"model.image.depth": 0})
    embedding = model.towers["image"].embedding  # pyright: ignore
    assert not embedding.cls.any()  # pyright: ignore
    assert not model.get_parameter("towers.image.stack.position.table.weight").any()
    image = torch.rand(2, 3, 224, 224)
    x = model({"image": image}).towers["image"].x
    assert x.shape == (2, 197, 768)
    torch.testing.assert_close(x[:, 1:], embedding(image).x[:, 1:])  # pyright: ignore
    assert x[:, 1:].shape == (2, 196, 768)
    assert not x[:, 0].any()


def test_a_table_of_places_starts_as_it_is_asked_to() -> None:
    where = "towers.image.stack.position.table.weight"
    table = create_model("vit-tiny", **{"model.image.depth": 0}).get_parameter(where)
    assert 0.015 < table.std().item() < 0.025
    assert not LearnedPositionConfig().zero_start


# ------------------------------------------------------------------ A004-5


@pytest.mark.slow
def test_a_small_one_learns_two_classes(tmp_path: Path) -> None:
    """Width 64, four layers; shapes of 64 x 64 pictures, of any colour, each a little elsewhere: 300 steps."""
    torch.set_num_threads(1)
    random = torch.Generator().manual_seed(0)
    for split, count in (("train", 400), ("val", 100)):
        for kind in ("circle", "square"):
            folder = tmp_path / "shapes" / split / kind
            folder.mkdir(parents=True)
            for i in range(count // 2):
                _shape(kind, random).save(folder / f"{i}.png")
    settings = {
        "model.image.dim": 64,
        "model.image.depth": 4,
        "model.image.image_size": [64, 64],
        "model.image.patch_size": [8, 8],
        "model.image.attention.max_len": 65,
        "model.image.attention.pooled_len": 16,
        "data.source": str(tmp_path / "shapes"),
        "data.batch.size": 32,
        "data.image.height": 64,
        "data.image.width": 64,
        "data.image.augment.crop": 1.0,
        "data.image.augment.ratio": 1.0,
        "train.steps": 300,
        "train.eval_every": 300,
        "train.optimizer.lr": 1e-3,
        "train.schedule": {"kind": "cosine", "warmup": 30},
    }
    run = patchword.train("ref/004-vit-linformer", tmp_path / "run", report=False, **settings)
    found = patchword.evaluate(run.run, split="val")
    assert found.metrics["accuracy"] >= 0.95
    assert patchword.evaluate(run.run, split="val").metrics == found.metrics  # nothing of validation is random


def _shape(kind: str, random: torch.Generator) -> Image.Image:
    left, top, size = (int(torch.randint(low, low + 6, (), generator=random)) for low in (8, 8, 36))
    colour = tuple(torch.randint(0, 160, (3,), generator=random).tolist())
    return draw(kind, colour, 64, (left, top, left + size, top + size))


# ------------------------------------------------------------------ A004-6


def test_activations_grow_with_length_at_a_fixed_number_of_pooled_rows() -> None:
    """Four times the patches, four times the activations: no term of N x N, nor of N x k with a growing k."""
    held = []
    for side in (256, 512, 1024):
        sizes = {"model.image.image_size": [side, side], "data.image.height": side, "data.image.width": side}
        tokens = (side // 16) ** 2 + 1
        sizes |= {"model.image.patch_size": [16, 16], "model.image.attention.max_len": tokens, "model.image.depth": 2}
        held.append(patchword.size("ref/004-vit-linformer", batch=1, **sizes).total.activations)
    assert held[1] / held[0] == pytest.approx(4, rel=0.1)
    assert held[2] / held[1] == pytest.approx(4, rel=0.03)
