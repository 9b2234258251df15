"""Blocks, feed-forwards, fusions, heads and presets against closed forms, component by component, to the last digit."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

import pytest
import torch

import patchword
from patchword.cli import main
from patchword.config import (
    AttentionPoolConfig,
    BottleneckFusionConfig,
    CoAttentionFusionConfig,
    ConcatFusionConfig,
    CrossFusionConfig,
    CrossLayersConfig,
    EmbeddingHeadConfig,
    FeedForwardConfig,
    FilmFusionConfig,
    FusionConfig,
    GatedFusionConfig,
    GEGLUConfig,
    GLUConfig,
    HeadConfig,
    HierarchicalPoolConfig,
    ImageTowerConfig,
    JointFusionConfig,
    LabelHeadConfig,
    LanguageHeadConfig,
    LayersConfig,
    LinearAttentionConfig,
    LowRankFusionConfig,
    ModelConfig,
    MuonConfig,
    PrefixFusionConfig,
    ReLU2Config,
    RereadFusionConfig,
    ResidualConfig,
    RunConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    StandardFeedForwardConfig,
    SummaryConfig,
    SwiGLUConfig,
    TensorFusionConfig,
    TextTowerConfig,
    WeightedFusionConfig,
)
from patchword.models.model import Model
from patchword.models.presets import load_config
from patchword.sizing.size import component_of
from patchword.sizing.tracing.record import BACKWARD, FORWARD
from tests.sizing.closed_base import Cost
from tests.sizing.closed_blocks import linear
from tests.sizing.closed_models import model
from tests.sizing.counting import counted

HEADS = 2
PLAIN, GROUPED = SoftmaxAttentionConfig(num_heads=HEADS), SoftmaxAttentionConfig(num_heads=4, num_kv_heads=2, gate=True)
LAYERS = CrossLayersConfig(depth=2, attention=GROUPED, cross_attention=LinearAttentionConfig(num_heads=HEADS))

FUSIONS: dict[str, FusionConfig] = {
    "cross": CrossFusionConfig(),
    "cross, summary, mlp": CrossFusionConfig(summary=SummaryConfig(num_queries=3, num_heads=2), projector="mlp"),
    "prefix": PrefixFusionConfig(),
    "prefix, summary": PrefixFusionConfig(summary=SummaryConfig(num_queries=3)),
    "joint": JointFusionConfig(projector="linear"),
    "film": FilmFusionConfig(),
    "film, attention": FilmFusionConfig(pool=AttentionPoolConfig(num_queries=2), projector="mlp"),
    "co-attention": CoAttentionFusionConfig(),
    "co-attention, mixed": CoAttentionFusionConfig(layers=LAYERS),
    "reread": RereadFusionConfig(layers=LAYERS),
    "bottleneck": BottleneckFusionConfig(layers=LayersConfig(attention=GROUPED, ffn=SwiGLUConfig())),
    "concat": ConcatFusionConfig(pool=AttentionPoolConfig(num_heads=2)),
    "weighted": WeightedFusionConfig(pool=HierarchicalPoolConfig(num_heads=2, window=4, stride=2)),
    "gated": GatedFusionConfig(),
    "tensor": TensorFusionConfig(width=5),
    "tensor, as wide as they are": TensorFusionConfig(width=None),
    "low rank": LowRankFusionConfig(rank=3),
}
KINDS: list[FeedForwardConfig | None] = [
    None,
    StandardFeedForwardConfig(),
    StandardFeedForwardConfig(hidden_dim=13),
    ReLU2Config(),
    GLUConfig(),
    GEGLUConfig(hidden_dim=9),
    SwiGLUConfig(bias=False),
]


def towers(**changes: Any) -> dict[str, Any]:
    image = ImageTowerConfig(dim=12, depth=1, image_size=(16, 8), patch_size=(4, 4), attention=PLAIN)
    text = TextTowerConfig(dim=8, depth=1, vocab_size=11, max_len=9, attention=PLAIN)
    return {"image": image.replace(**changes), "text": text}


def built(fusion: FusionConfig, heads: Mapping[str, HeadConfig] | None = None, **image: Any) -> ModelConfig:
    """Two towers, a fusion and a causal trunk where that may be."""
    causal = PLAIN.replace(causal=fusion.continues)
    cross = GROUPED if fusion.gives_memory else None
    dim = 8 if fusion.continues else 16
    trunk = StackConfig(dim=dim, depth=2, attention=causal, cross_attention=cross, ffn=SwiGLUConfig(hidden_dim=10))
    return ModelConfig(towers=towers(**image), fusion=fusion, trunk=trunk, heads=dict(heads or {}))


def by_component(config: ModelConfig, batch: int, text: int) -> dict[str, Cost]:
    net = Model(config)
    every = {"image": torch.rand(batch, 3, 16, 8), "text": torch.randint(0, 11, (batch, text))}
    inputs = {name: every[name] for name in config.towers}

    def step() -> None:
        out = net(inputs)
        found = [out.heads[name] for name in out.heads] or [out.trunk.x]
        torch.stack([each.sum() for each in found]).sum().backward()

    trace = counted(step, net)
    assert trace.ledger == {}
    forward, backward, hardware = Counter[str](), Counter[str](), Counter[str]()
    for op in trace.ops:
        name = component_of(op.module)
        hardware[name] += op.work.hardware
        if not op.again:
            (forward if op.phase == FORWARD else backward)[name] += op.work.model
        assert op.phase in (FORWARD, BACKWARD)
    assert sum(hardware.values()) == trace.hardware
    return {name: Cost(forward[name], backward[name], hardware[name]) for name in hardware if hardware[name]}


@pytest.mark.parametrize("name", FUSIONS)
def test_fusions(name: str) -> None:
    config = built(FUSIONS[name])
    assert by_component(config, 3, 7) == model(config, 3, 7)


@pytest.mark.parametrize("ffn", KINDS, ids=str)
@pytest.mark.parametrize("placement", ["pre", "post", "sandwich"])
def test_blocks(ffn: FeedForwardConfig | None, placement: Any) -> None:
    residual = ResidualConfig(placement=placement, layer_scale=0.1, drop_path=0.2, dropout=0.1)
    image = towers(stem=(5, 6), cls_token=True, depth=3, ffn=ffn, residual=residual)["image"]
    config = ModelConfig(towers={"image": image}, heads={"label": LabelHeadConfig(source="image", num_classes=5)})
    assert by_component(config, 2, 0) == model(config, 2, 0)


def test_heads_of_all_kinds() -> None:
    heads = {
        "say": LanguageHeadConfig(),
        "name": LabelHeadConfig(num_classes=3, pool=AttentionPoolConfig(num_heads=2)),
        "place": EmbeddingHeadConfig(out_dim=5, source="image"),
    }
    config = built(CrossFusionConfig(), heads, embed_norm=True)
    assert by_component(config, 2, 5) == model(config, 2, 5)


PRESETS = [
    "captioner-tiny",
    "captioner-small",
    "captioner-prefix-small",
    "layout-merged-attention",
    "layout-late-fusion",
]


def directions(run: RunConfig) -> int:
    """FLOPs of Muon's polynomials: products of Gram matrices [n, n], and of these with each matrix [n, m]."""
    every, times = run.model.build(), cast(MuonConfig, run.train.optimizer).iterations
    shapes = [p.shape for name, p in every.named_parameters() if ".blocks." in name and p.ndim == 2]
    square = 1 + (times - 1) * 4  # g g; then f p, f g f and another g g
    return sum(2 * min(s) * min(s) * (2 * max(s) + square * min(s)) for s in shapes)


@pytest.mark.parametrize(("preset", "optimizer"), [*((name, "adamw") for name in PRESETS), ("captioner-tiny", "muon")])
def test_presets(preset: str, optimizer: str) -> None:
    """A whole training step, on tensors without contents; no deeper than two blocks."""
    batch, run = 3, load_config(preset, {"model.text.vocab_size": 300, "train.optimizer.kind": optimizer})
    shallow = {f"model.{name}.depth": 2 for name in ("image", "trunk") if _depth(run, name) > 2}
    run = load_config(run, shallow)
    found = patchword.size(run, batch=batch)
    text, trunk, texts = run.model.towers["text"], run.model.trunk, run.data.batch.captions
    assert isinstance(text, TextTowerConfig)
    assert trunk is not None
    expected = model(run.model, batch, text.max_len, texts)
    del expected["text head"]  # its scores are the loss's, which never holds all of them
    expected["loss"] = linear(batch * texts * text.max_len, trunk.dim, 300)
    if isinstance(run.train.optimizer, MuonConfig):
        expected["optimizer"] = Cost(0, 0, directions(run))
    parts = {part.name: Cost(part.flops.forward, part.flops.backward, part.flops.hardware) for part in found.components}
    assert {name: cost for name, cost in parts.items() if any(cost)} == expected
    assert found.uncounted == {}
    flops = [part.flops for part in found.components]
    assert tuple(found.total.flops) == tuple(sum(column) for column in zip(*flops, strict=True))


LOOKS: list[dict[str, Any]] = [
    {"kind": "sparse", "pattern": {"kind": "local", "reach": 9, "num_global": 2}},
    {"kind": "sparse", "pattern": {"kind": "strided", "stride": 8}},
    {"kind": "topk", "k": 4},
    {"kind": "performer"},
    {"kind": "linformer", "pooled_len": 4},
    {"kind": "reformer", "bucket_size": 4},
    {"kind": "differential"},
]


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_mechanisms_without_contents(look: dict[str, Any]) -> None:
    """The picture's tower of a preset, whole: what a mechanism decides by contents is decided all the same."""
    small = {"model.image.depth": 2, "model.trunk.depth": 1, "model.text.vocab_size": 99}
    run = load_config("captioner-tiny", {"model.image.attention": look, **small})
    parts = {part.name: part.flops for part in patchword.size(run, batch=2).components}
    found = Cost(parts["image"].forward, parts["image"].backward, parts["image"].hardware)
    assert found == model(run.model, 2, 5)["image"]


def _depth(run: RunConfig, name: str) -> int:
    part = run.model.trunk if name == "trunk" else run.model.towers[name]
    assert part is not None
    return part.depth


def test_a_look_without_gradients_computes_none() -> None:
    found = patchword.size("captioner-tiny", "inference", batch=2, **{"model.image.depth": 1, "model.trunk.depth": 1})
    assert found.total.flops.backward == 0
    assert found.total.flops.hardware == found.total.flops.forward > 0


def test_the_command_names_both_conventions(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["captioner-tiny", "model.image.depth=1", "model.trunk.depth=1", "--batch", "2"]
    assert main(["size", *small, "--json"]) == 0
    flops = json.loads(capsys.readouterr().out)["flops"]
    assert set(flops) >= {"forward", "backward", "hardware", "recomputed", "vector"}
    assert flops["hardware"] > flops["forward"] + flops["backward"]  # fused attention computes scores again
    assert main(["size", *small]) == 0
    assert "hardware" in capsys.readouterr().out
