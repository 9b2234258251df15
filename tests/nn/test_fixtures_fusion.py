"""Components of the multimodal toolkit in ../shared/reference: equal numbers by weight mapping, equal counts.

Published functions that are right are equalled to 1e-5. What differs by design is said at the test.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from patchword.config import (
    AttentionPoolConfig,
    CoAttentionFusionConfig,
    ConcatFusionConfig,
    Config,
    CrossLayersConfig,
    FeedForwardConfig,
    FusionConfig,
    GatedFusionConfig,
    GLUConfig,
    HierarchicalPoolConfig,
    LayerNormConfig,
    NormConfig,
    RereadFusionConfig,
    RMSNormConfig,
    ScaleNormConfig,
    SoftmaxAttentionConfig,
    StandardFeedForwardConfig,
    SwiGLUConfig,
    WeightedFusionConfig,
)
from patchword.nn import Attention
from patchword.nn.attention import View
from patchword.sequence import Mask, SequenceInfo, Tokens

NAMES = ("text", "image", "audio")
HEADS = SoftmaxAttentionConfig(num_heads=4)
NORM = LayerNormConfig(eps=1e-12)
Weights = dict[str, Tensor]


class Fixture:
    """The numbers of one published component: weights, input, output."""

    def __init__(self, folder: Path, name: str) -> None:
        path = folder / "reference" / "fixtures" / f"s003_{name}.safetensors"
        if not path.is_file():
            pytest.skip(f"needs the fixture {path.name} in ../shared/reference")
        held = load_file(path)
        self.weights, self.given, self.want = (
            {key.partition("/")[2]: value for key, value in held.items() if key.startswith(part)}
            for part in ("sd/", "in/", "out/")
        )

    def tokens(self, name: str = "x", mask: str | None = "mask") -> Tokens:
        valid = None if mask is None else self.given[mask].bool()
        return Tokens(self.given[name], SequenceInfo(valid=valid))

    def towers(self) -> dict[str, Tokens]:
        return {name: self.tokens(name, f"{name}_mask") for name in NAMES}

    def widths(self) -> dict[str, int]:
        return {name: self.given[name].shape[-1] for name in NAMES}


def loaded(module: nn.Module, weights: Weights) -> Any:
    """The module with all of these weights and no other."""
    module.load_state_dict(weights)
    return module.eval()


def renamed(weights: Weights, **names: str) -> Weights:
    """Weights whose names begin with other words; those without a new name are left out."""
    return {
        new + key.removeprefix(old): value
        for key, value in weights.items()
        for old, new in names.items()
        if key == old or key.startswith(f"{old}.")
    }


def close(got: Tensor, want: Tensor, real: Tensor | None = None) -> None:
    if real is not None:
        got, want = got[real], want[real]
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


# ------------------------------------------------------------------ attention


def torch_attention(weights: Weights, prefix: str = "") -> Weights:
    """Those of torch's own layer, whose three maps are one matrix."""
    made = renamed(weights, **{f"{prefix}out_proj": "out_proj"})
    for kind in ("weight", "bias"):
        joined = weights[f"{prefix}in_proj_{kind}"].chunk(3)
        made |= {f"{name}_proj.{kind}": part for name, part in zip("qkv", joined, strict=True)}
    return made


def under(prefix: str, weights: Weights) -> Weights:
    return {f"{prefix}.{name}": value for name, value in weights.items()}


@torch.no_grad()
def test_multi_head_attention(shared: Path) -> None:
    fixture = Fixture(shared, "multi_head_attention")
    layer = loaded(Attention(HEADS, 32), torch_attention(fixture.weights))
    tokens = fixture.tokens()
    view = View(Mask(tokens.info, tokens.info, 7, 7))
    close(layer(tokens.x, view), fixture.want["out"])
    close(layer.weights(tokens.x, view), fixture.want["attn"])


@torch.no_grad()
def test_cross_attention(shared: Path) -> None:
    """Rows that may see no key differ by design: published ones look at all keys alike, ours get nothing."""
    fixture = Fixture(shared, "cross_attention")
    layer = loaded(Attention(HEADS, 32, memory_dim=24), fixture.weights)
    memory = fixture.tokens("key", "key_mask")
    view = View(Mask(SequenceInfo(), memory.info, 1, 9), memory=memory.x)
    close(layer(fixture.given["query"], view), fixture.want["out"])
    close(layer.weights(fixture.given["query"], view), fixture.want["attn"])


# ------------------------------------------------------------------ feed-forwards and norms

FFNS: dict[str, tuple[FeedForwardConfig, dict[str, str]]] = {
    "ffn_gelu": (StandardFeedForwardConfig(hidden_dim=48), {"fc1": "up_proj", "fc2": "down_proj"}),
    "ffn_relu": (
        StandardFeedForwardConfig(hidden_dim=48, activation="relu"),
        {"fc1": "up_proj", "fc2": "down_proj"},
    ),
    "glu_gelu": (
        GLUConfig(hidden_dim=48, activation="gelu"),
        {"fc1_1": "up_proj", "fc1_2": "gate_proj", "fc2": "down_proj"},
    ),
    "swiglu": (SwiGLUConfig(hidden_dim=48), {"w1": "gate_proj", "w2": "up_proj", "w3": "down_proj"}),
}
NORMS: dict[str, tuple[NormConfig, dict[str, str]]] = {
    "layer_norm": (LayerNormConfig(), {"weight": "weight", "bias": "bias"}),
    "rms_norm": (RMSNormConfig(), {"weight": "weight"}),
    "scale_norm": (ScaleNormConfig(), {"scale": "gain"}),
}


@pytest.mark.parametrize("name", FFNS)
@torch.no_grad()
def test_feed_forward(shared: Path, name: str) -> None:
    fixture, (config, names) = Fixture(shared, f"layer_{name}"), FFNS[name]
    part = loaded(config.build(32), renamed(fixture.weights, **names))
    close(part(fixture.given["x"]), fixture.want["out"])


@pytest.mark.parametrize("name", NORMS)
@torch.no_grad()
def test_norm(shared: Path, name: str) -> None:
    fixture, (config, names) = Fixture(shared, f"layer_{name}"), NORMS[name]
    part = loaded(config.build(32), renamed(fixture.weights, **names))
    close(part(fixture.given["x"]), fixture.want["out"])


def test_group_norm_mixes_tokens(shared: Path) -> None:
    """Not taken over: its mean and variance are over all tokens, padding and later ones with them.

    Nothing that tells a text step by step may look ahead, and nothing that takes padding may count it.
    """
    fixture = Fixture(shared, "layer_group_norm1d")
    x, weight, bias = fixture.given["x"], fixture.weights["weight"], fixture.weights["bias"]
    groups = {g: torch.nn.functional.group_norm(x.mT, g, weight, bias).mT for g in (1, 2, 4, 8, 16, 32)}
    matching = [g for g, y in groups.items() if torch.allclose(y, fixture.want["out"], atol=1e-5)]
    assert len(matching) == 1
    later = x.clone()
    later[:, -1] += 1
    again = torch.nn.functional.group_norm(later.mT, matching[0], weight, bias).mT
    assert (again[:, 0] - fixture.want["out"][:, 0]).abs().max() > 0.01


# ------------------------------------------------------------------ pooling

POOL = {"key": "look.k_proj", "value": "look.v_proj", "output_projection": "out_proj"}


def pool_weights(weights: Weights, prefix: str = "", queries: str = "query") -> Weights:
    made = renamed(weights, **{f"{prefix}{old}": new for old, new in POOL.items()})
    return made | {"look.queries": weights[prefix + queries].flatten(2).flatten(0, 1).view(-1, 32)}


@torch.no_grad()
def pooling_equals(fixture: Fixture, pool: nn.Module) -> None:
    close(pool(fixture.tokens(mask=None)), fixture.want["out"])
    close(pool(fixture.tokens()), fixture.want["out_masked"])


def test_attention_pooling_with_one_head(shared: Path) -> None:
    """The published output map is idle with one head; ours is always used, so it is set to change nothing."""
    fixture = Fixture(shared, "pool_attentional_h1")
    weights = pool_weights(fixture.weights)
    weights |= {"out_proj.weight": torch.eye(32), "out_proj.bias": torch.zeros(32)}
    pooling_equals(fixture, loaded(AttentionPoolConfig(num_heads=1).build(32), weights))


def test_attention_pooling_with_three_queries(shared: Path) -> None:
    fixture = Fixture(shared, "pool_multi_query")
    weights = pool_weights(fixture.weights, queries="queries")
    pooling_equals(fixture, loaded(AttentionPoolConfig(num_queries=3).build(32), weights))


def test_hierarchical_pooling(shared: Path) -> None:
    """Windows of 4 every 2 tokens.

    Differs by design: the published one leaves out the windows where the padded batch fits into one, so a row's
    result depends on its neighbours.
    """
    fixture = Fixture(shared, "pool_hierarchical")
    weights = under("windows", pool_weights(fixture.weights, "window_pooling."))
    weights |= under("whole", pool_weights(fixture.weights, "sequence_pooling."))
    pooling_equals(fixture, loaded(HierarchicalPoolConfig(window=4, stride=2).build(32), weights))


# ------------------------------------------------------------------ fusion


def fusion_weights(kind: str, weights: Weights) -> Weights:
    maps = {f"{name}_projection": f"projectors.{name}" for name in NAMES} | {"layer_norm": "norm"}
    names = {
        "concat": {"fusion_projection.0": "up_proj", "fusion_projection.3": "down_proj", "layer_norm": "norm"},
        "weighted": maps | {"fusion_weights": "scores"},
        "gated": maps | {f"{name}_gate.0": f"gates.{name}" for name in NAMES} | {"fusion_projection": "out_proj"},
    }
    return renamed(weights, **names[kind])


VECTORS: dict[str, FusionConfig] = {
    "concat": ConcatFusionConfig(norm=NORM),
    "weighted": WeightedFusionConfig(norm=NORM),
    "gated": GatedFusionConfig(norm=NORM),
}


@pytest.mark.parametrize("kind", VECTORS)
@torch.no_grad()
def test_fusion_to_one_vector(shared: Path, kind: str) -> None:
    fixture = Fixture(shared, f"fusion_{kind}_mean")
    fusion = VECTORS[kind].build(fixture.widths(), 32)
    loaded(fusion, fusion_weights(kind, fixture.weights))
    close(fusion(fixture.towers()).tokens.x, fixture.want["fused"])


REREAD = RereadFusionConfig(
    layers=CrossLayersConfig(
        attention=HEADS,
        cross_attention=HEADS,
        ffn=StandardFeedForwardConfig(hidden_dim=40),
        norm=NORM,
        final_norm=False,
    )
)


@torch.no_grad()
def test_fusion_by_cross_attention(shared: Path) -> None:
    """The published `cross_attention`: one sequence of all, and what every tower gave, read again by each layer."""
    fixture, weights = Fixture(shared, "fusion_cross_attention_mean"), {}
    for i in range(2):
        old, new = f"fusion_layers.{i}.", f"stack.blocks.{i}"
        weights |= under(f"{new}.self_attn.step", torch_attention(fixture.weights, f"{old}self_attention."))
        names = {f"{old}{name}_cross_attention": f"{new}.cross_attn.step.of.{name}" for name in NAMES}
        names |= {f"{old}feed_forward.fc1": f"{new}.ffn.step.up_proj"}
        names |= {f"{old}feed_forward.fc2": f"{new}.ffn.step.down_proj"}
        steps = ("self_attn", "cross_attn", "ffn")
        names |= {f"{old}layer_norm{n}": f"{new}.{step}.norm" for n, step in enumerate(steps, 1)}
        weights |= renamed(fixture.weights, **names)
    fusion = loaded(REREAD.build(fixture.widths(), 32), weights)
    fused = fusion(fixture.towers())
    assert fused.tokens.info.valid is not None
    close(fused.tokens.x, fixture.want["fused"], fused.tokens.info.valid)


# ------------------------------------------------------------------ counts at width 768, 12 heads

WIDE = SoftmaxAttentionConfig(num_heads=12)
TOWERS = dict.fromkeys(NAMES, 768)
BASE = CrossLayersConfig(attention=WIDE, cross_attention=WIDE, final_norm=False)
COUNTS: list[tuple[str, Config, tuple[Any, ...], int]] = [
    ("reread", RereadFusionConfig(layers=BASE), (TOWERS, 768), 28_353_024),
    ("concat", ConcatFusionConfig(), (TOWERS, 768), 4_722_432),
    ("weighted", WeightedFusionConfig(), (TOWERS, 768), 1_539),
    ("gated", GatedFusionConfig(), (TOWERS, 768), 5_902_848),
    ("co_attention layer", CoAttentionFusionConfig(layers=BASE.replace(depth=1)), (TOWERS, 768), 35_442_432),
    ("co_attention", CoAttentionFusionConfig(layers=BASE.replace(depth=12)), (TOWERS, 768), 425_309_184),
    ("attention pooling", AttentionPoolConfig(num_heads=12), (768,), 1_772_544),
    ("four queries", AttentionPoolConfig(num_heads=12, num_queries=4), (768,), 3_544_320),
    ("hierarchical", HierarchicalPoolConfig(num_heads=12), (768,), 3_545_088),
    ("ffn", StandardFeedForwardConfig(), (768,), 4_722_432),
    ("glu", GLUConfig(hidden_dim=3072), (768,), 7_084_800),
    ("swiglu", SwiGLUConfig(hidden_dim=3072), (768,), 7_084_800),
    ("layernorm", LayerNormConfig(), (768,), 1_536),
    ("rmsnorm", RMSNormConfig(), (768,), 768),
    ("scalenorm", ScaleNormConfig(), (768,), 1),
]


def parameters(part: nn.Module) -> int:
    return sum(weight.numel() for weight in part.parameters())


@pytest.mark.parametrize(("config", "widths", "count"), [row[1:] for row in COUNTS], ids=[row[0] for row in COUNTS])
def test_counts(config: Config, widths: tuple[Any, ...], count: int) -> None:
    with torch.device("meta"):
        assert parameters(config.build(*widths)) == count


def test_counts_of_attention() -> None:
    with torch.device("meta"):
        assert parameters(Attention(WIDE, 768)) == 2_362_368
        assert parameters(Attention(WIDE, 768, memory_dim=768)) == 2_362_368
