"""What is asked of system 003, the multi-modal toolkit; docs/acceptance.md says which other tests do the rest.

Here: every component fixture is compared somewhere (A003-c), no NaN for any subset of three modalities and any mask
with the fusions of the original (A003-n), and its training command on data of its form (A003-t).
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pointers import exists
from safetensors.torch import load_file
from sample_data import write_sample
from torch import Tensor

import patchword
from patchword.cli import main
from patchword.config import (
    AttentionPoolConfig,
    ConcatFusionConfig,
    FeaturesTowerConfig,
    FusionConfig,
    GatedFusionConfig,
    LabelHeadConfig,
    LearnedPositionConfig,
    ModelConfig,
    RereadFusionConfig,
    StackConfig,
    TextTowerConfig,
    WeightedFusionConfig,
)
from patchword.models.model import Model
from patchword.sequence import FeaturesInput, TextInput
from patchword.tasks.losses import chunked_cross_entropy, focal_cross_entropy
from patchword.testing import randomise

# ------------------------------------------------------------------ A003-c

_PARTS, _PLACES = "tests/nn/test_fixtures_fusion.py", "tests/nn/test_learned_positions.py"
COMPARED: dict[str, str] = {
    "cross_attention": f"{_PARTS}::test_cross_attention",
    "multi_head_attention": f"{_PARTS}::test_multi_head_attention",
    "fusion_": f"{_PARTS}::test_fusion_to_one_vector",
    "fusion_cross_attention": f"{_PARTS}::test_fusion_by_cross_attention",
    "pool_attentional_h1": f"{_PARTS}::test_attention_pooling_with_one_head",
    "pool_multi_query": f"{_PARTS}::test_attention_pooling_with_three_queries",
    "pool_hierarchical": f"{_PARTS}::test_hierarchical_pooling",
    "layer_ffn": f"{_PARTS}::test_feed_forward",
    "layer_glu": f"{_PARTS}::test_feed_forward",
    "layer_swiglu": f"{_PARTS}::test_feed_forward",
    "layer_layer_norm": f"{_PARTS}::test_norm",
    "layer_rms_norm": f"{_PARTS}::test_norm",
    "layer_scale_norm": f"{_PARTS}::test_norm",
    "layer_group_norm1d": f"{_PARTS}::test_group_norm_mixes_tokens",
    "layer_pe_learned": f"{_PLACES}::test_learned_positions_equal_their_fixture",
    "layer_pe_sinusoidal": f"{_PLACES}::test_sinusoidal_positions_equal_their_fixture",
    "layer_rotary": "tests/nn/test_rotary.py::test_rotary_equals_its_fixture",
    "layer_relative": "tests/nn/test_relative_positions.py::test_the_table_of_relative_keys_is_the_fixture",
    "linear_attention": "tests/nn/test_linear.py::test_fixture",
    "multi_query_linear": "tests/nn/test_linear.py::test_fixture",
    "sparse_attention": "tests/nn/test_sparse.py::test_fixture",
    "retrieval_metrics": "tests/tasks/test_retrieval_metrics.py::test_recalls_are_the_references",
    "losses": "tests/tasks/test_contrast.py::test_losses_are_the_references",
}
"""How fixtures are called, after `s003_`, and the test that compares them."""


def test_every_fixture_is_compared(shared: Path) -> None:
    there = [path.stem.removeprefix("s003_") for path in (shared / "reference" / "fixtures").glob("s003_*.safetensors")]
    assert there
    assert [name for name in there if not any(map(name.startswith, COMPARED))] == []
    assert [test for test in COMPARED.values() if not exists(test)] == []


def test_cross_entropies_are_the_references(shared: Path) -> None:
    """The losses of choosing and of saying; those of pairs are in tests/tasks/test_contrast.py.

    Published, labels of generation are taken as they stand, padding (0) aside.
    """
    data = load_file(shared / "reference" / "fixtures" / "s003_losses.safetensors")

    def ours(scores: Tensor, labels: Tensor, ignored: int, smoothing: float = 0.0) -> float:
        keep, identity = labels != ignored, torch.eye(scores.shape[-1])
        return float(chunked_cross_entropy(scores[keep], identity, None, labels[keep], smoothing, 3) / keep.sum())

    scores, labels = data["in/logits"], data["in/labels"]
    for got, name in (
        (ours(scores, labels, -100), "ce"),
        (ours(scores, labels, -100, smoothing=0.1), "ce_smooth"),
        (ours(data["in/gen_logits"], data["in/gen_labels"], 0), "gen"),
    ):
        assert got == pytest.approx(float(data[f"out/{name}"]), rel=1e-5), name
    told = labels >= 0
    focal = focal_cross_entropy(scores[told], labels[told], gamma=2.0) / told.sum()
    assert float(focal) == pytest.approx(float(data["out/focal"]), rel=1e-5)


# ------------------------------------------------------------------ A003-n

NAMES = ("text", "image", "audio")
FUSIONS: dict[str, FusionConfig] = {
    "cross_attention": RereadFusionConfig(),
    "concat": ConcatFusionConfig(),
    "weighted": WeightedFusionConfig(),
    "gated": GatedFusionConfig(),
}
SUBSETS = [names for count in (1, 2, 3) for names in itertools.combinations(NAMES, count)]


def three(fusion: FusionConfig) -> Model:
    """Text, and features of two more modalities."""
    own: dict[str, Any] = {"dim": 16, "depth": 1, "position": LearnedPositionConfig()}
    towers = {
        "text": TextTowerConfig(**own, vocab_size=11, max_len=6),
        "image": FeaturesTowerConfig(**own, max_len=6),
        "audio": FeaturesTowerConfig(**own, max_len=6, in_dim=5),
    }
    head = LabelHeadConfig(num_classes=3, pool=AttentionPoolConfig())
    trunk = StackConfig(dim=16, depth=0, attention=None, ffn=None)
    model: Model = ModelConfig(towers=towers, fusion=fusion, trunk=trunk, heads={"answer": head}).build()
    randomise(model, torch.Generator().manual_seed(0))
    return model.double()


def given(name: str, valid: Tensor) -> TextInput | FeaturesInput:
    if name == "text":
        return TextInput(torch.randint(0, 11, valid.shape), valid)
    return FeaturesInput(torch.randn(*valid.shape, 16 if name == "image" else 5, dtype=torch.float64), valid)


@pytest.mark.parametrize("kind", FUSIONS)
@pytest.mark.parametrize("names", SUBSETS, ids="+".join)
def test_any_subset_of_modalities_with_any_mask(kind: str, names: tuple[str, ...]) -> None:
    """Also text and image without audio, where the original gives NaN; a mask may hide the whole of a modality."""
    model = three(FUSIONS[kind])
    for chance in (0.3, 0.7, 1.0):
        valid = {name: torch.rand(4, 6) < chance for name in names}
        valid[names[0]][0, 2] = True
        for name in names[1:]:
            valid[name][0] = False
        model.zero_grad()
        out = model({name: given(name, own) for name, own in valid.items()})
        assert out.heads["answer"].isfinite().all()
        out.heads["answer"].square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("kind", FUSIONS)
@torch.no_grad()
def test_a_fully_masked_modality_contributes_nothing(kind: str) -> None:
    model = three(FUSIONS[kind]).eval()
    there = torch.ones(2, 6, dtype=torch.bool)
    inputs: dict[str, Any] = {name: given(name, there) for name in ("text", "image")}
    want = model(inputs).heads["answer"]
    for _ in range(2):
        got = model(inputs | {"audio": given("audio", ~there)}).heads["answer"]
        torch.testing.assert_close(got, want, atol=1e-9, rtol=1e-9)
    assert not torch.allclose(model(inputs | {"audio": given("audio", there)}).heads["answer"], want)


# ------------------------------------------------------------------ A003-t


def tower(name: str) -> list[str]:
    small = {"dim": 64, "depth": 2, "attention.num_heads": 4, "ffn.hidden_dim": 128}
    return [f"model.{name}.{setting}={value}" for setting, value in small.items()]


TINY = [
    *("data.image.height=64", "data.image.width=64", "model.image.image_size=[64, 64]", *tower("image")),
    *("data.tokenizer.vocab_size=200", "data.tokenizer.min_frequency=1", "data.batch.size=5"),
    *("train.steps=200", "train.optimizer.lr=1e-3", "train.schedule.warmup=20", "train.eval_every=null"),
]
"""A configuration that learns five samples by heart in 200 steps."""
SMALLER: dict[str, list[str]] = {
    "ref/003-retrieval": [
        *tower("text"),
        *(f"model.heads.{name}.pool.num_heads=4" for name in ("text", "image")),
        "data.columns.caption=text",
    ],
    "ref/003-base": [
        *tower("text"),
        *("model.trunk.dim=64", "model.fusion.layers.ffn.hidden_dim=128", "model.heads.answer.pool.num_heads=4"),
        *(f"model.fusion.layers.{look}.num_heads=4" for look in ("attention", "cross_attention")),
    ],
    "ref/003-captioning": [*tower("trunk"), "model.trunk.cross_attention.num_heads=4", "model.text.dim=64"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALLER)
def test_five_samples_are_learnt_by_heart(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its training command in our words, on data of its form: R@1 100, accuracy 100, every caption word for word."""
    torch.set_num_threads(1)
    said, run = write_sample(tmp_path / "sample"), str(tmp_path / "outputs")
    words = [f"data.source={tmp_path / 'sample'}", *TINY, *SMALLER[name], "--out", run]
    assert main(["train", name, *words]) == 0
    capsys.readouterr()
    assert main(["evaluate", run, "--split", "train", "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    if name == "ref/003-retrieval":
        assert metrics["i2t_recall_1"] == metrics["t2i_recall_1"] == 1.0
    elif name == "ref/003-base":
        assert metrics["accuracy"] == 1.0
    else:
        predictions = patchword.load(run).evaluate(split="train").predictions
        assert [p.text for p in predictions] == [row["caption"] for row in said]
