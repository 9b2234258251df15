"""The contract of fusions: every built-in one obeys it, and mistakes are seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from patchword.config import (
    AttentionPoolConfig,
    BottleneckFusionConfig,
    CoAttentionFusionConfig,
    ConcatFusionConfig,
    CrossFusionConfig,
    CrossLayersConfig,
    FilmFusionConfig,
    FusionConfig,
    GatedFusionConfig,
    JointFusionConfig,
    LayersConfig,
    LinearAttentionConfig,
    LowRankFusionConfig,
    PrefixFusionConfig,
    RereadFusionConfig,
    ResidualConfig,
    SoftmaxAttentionConfig,
    SummaryConfig,
    SwiGLUConfig,
    TensorFusionConfig,
    VectorFusionConfig,
    WeightedFusionConfig,
)
from patchword.nn.fusion import FilmFusion, Fused, PrefixFusion, VectorFusion
from patchword.sequence import SequenceInfo, Tokens, real
from patchword.testing import check_fusion
from patchword.testing.check_fusion import ALL, CONTINUING

GROUPED = SoftmaxAttentionConfig(num_kv_heads=2, gate=True)
FUSIONS: list[FusionConfig] = [
    CrossFusionConfig(),
    CrossFusionConfig(summary=SummaryConfig(num_queries=3, num_heads=2), projector="mlp"),
    PrefixFusionConfig(),
    PrefixFusionConfig(summary=SummaryConfig(num_queries=3)),
    JointFusionConfig(reader="image", projector="linear"),
    FilmFusionConfig(),
    FilmFusionConfig(pool=AttentionPoolConfig(num_queries=2), projector="mlp"),
    CoAttentionFusionConfig(),
    CoAttentionFusionConfig(
        layers=CrossLayersConfig(
            depth=1,
            cross_attention=LinearAttentionConfig(),
            ffn=None,
            residual=ResidualConfig(placement="post", layer_scale=0.1),
            final_norm=False,
        )
    ),
    RereadFusionConfig(layers=CrossLayersConfig(depth=1, attention=GROUPED, cross_attention=GROUPED)),
    BottleneckFusionConfig(),
    BottleneckFusionConfig(num_tokens=1, layers=LayersConfig(attention=GROUPED, ffn=SwiGLUConfig()), projector="mlp"),
    ConcatFusionConfig(pool=AttentionPoolConfig(num_heads=2)),
    WeightedFusionConfig(),
    GatedFusionConfig(projector="mlp"),
    TensorFusionConfig(width=3),
    LowRankFusionConfig(),
    LowRankFusionConfig(width=5, rank=1),
]


def test_every_kind_is_tried() -> None:
    ours = {kind for kind, config in FusionConfig.kinds.items() if config.__module__.startswith("patchword.config")}
    assert {config.kind for config in FUSIONS} == ours


@pytest.mark.parametrize("config", FUSIONS, ids=lambda c: c.kind)
def test_contract(config: FusionConfig) -> None:
    asked = ALL + (CONTINUING if config.continues else ())
    assert check_fusion(config) == [law.__name__ for law in asked]


# ------------------------------------------------------------------ what the contract must see


def built(base: type, made: Callable[..., Any], **facts: Any) -> FusionConfig:
    """Settings of a fusion that the loader does not know, with these facts."""
    return type(base.__name__, (base,), facts | {"kind": "broken", "implementation": made})()


class Summed(VectorFusion):
    """The sum of mapped vectors, right."""

    def __init__(self, config: VectorFusionConfig, dims: Mapping[str, int], dim: int) -> None:
        super().__init__(config, dims, dim)
        self.maps = nn.ModuleList(nn.Linear(width, dim, bias=False) for width in dims.values())

    def mix(self, vectors: list[Tensor], there: Tensor) -> Tensor:
        return torch.stack([m(v) for m, v in zip(self.maps, vectors, strict=True)]).sum(0)


class CountsPadding(Summed):
    def forward(self, parts: Mapping[str, Tokens]) -> Fused:
        return super().forward({name: Tokens(tokens.x) for name, tokens in parts.items()})


class SeesOffsets(Summed):
    def mix(self, vectors: list[Tensor], there: Tensor) -> Tensor:
        return super().mix(vectors, there) / there.sum(1, keepdim=True)


class MixesRows(Summed):
    def mix(self, vectors: list[Tensor], there: Tensor) -> Tensor:
        return super().mix(vectors, there) + vectors[0].mean()


class Deaf(Summed):
    def mix(self, vectors: list[Tensor], there: Tensor) -> Tensor:
        return super().mix([vectors[0], vectors[1], vectors[2] * 0], there)


class Idle(Summed):
    def __init__(self, config: VectorFusionConfig, dims: Mapping[str, int], dim: int) -> None:
        super().__init__(config, dims, dim)
        self.idle = nn.Linear(3, 3)


class OneTextASample(Summed):
    def forward(self, parts: Mapping[str, Tokens]) -> Fused:
        rows = min(len(tokens.x) for tokens in parts.values())
        cut = {
            name: Tokens(t.x[:rows], SequenceInfo(*(None if f is None else f[:rows] for f in t.info)))
            for name, t in parts.items()
        }
        return super().forward(cut)


class Leaks(PrefixFusion):
    def forward(self, parts: Mapping[str, Tokens]) -> Fused:
        text = parts[self.reader]
        mean = (text.x * real(text)[..., None]).sum(1, keepdim=True)
        return super().forward(parts | {self.reader: Tokens(text.x + mean, text.info)})


class Forgets(FilmFusion):
    def following(self, tokens: Tokens, kept: Tensor | None) -> Tokens:
        return super().following(tokens, None)


BROKEN: dict[str, tuple[type, type, dict[str, Any], str]] = {
    "right": (VectorFusionConfig, Summed, {}, ""),
    "counts padding": (VectorFusionConfig, CountsPadding, {}, "padding_changes_nothing"),
    "divides by those there": (VectorFusionConfig, SeesOffsets, {}, "any_subset_is_finite"),
    "mixes rows": (VectorFusionConfig, MixesRows, {}, "rows_are_independent"),
    "deaf": (VectorFusionConfig, Deaf, {}, "every_tower_is_heard"),
    "an idle weight": (VectorFusionConfig, Idle, {}, "any_subset_is_finite"),
    "one text a sample": (VectorFusionConfig, OneTextASample, {}, "texts_share_a_sample"),
    "leaks": (PrefixFusionConfig, Leaks, {}, "later_tokens_reach_no_earlier_one"),
    "forgets": (FilmFusionConfig, Forgets, {}, "cached_equals_recomputed"),
    "says that it joins": (VectorFusionConfig, Summed, {"joins": True}, "class_facts_are_true"),
    "says that it remembers": (VectorFusionConfig, Summed, {"gives_memory": True}, "class_facts_are_true"),
    "says that it continues": (VectorFusionConfig, Summed, {"continues": True}, "class_facts_are_true"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_mistakes_are_seen(name: str) -> None:
    base, made, facts, law = BROKEN[name]
    config = built(base, made, **facts)
    if not law:
        check_fusion(config)
        return
    with pytest.raises(AssertionError, match=rf"^{law} does not hold for broken fusion"):
        check_fusion(config)
