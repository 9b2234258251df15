"""Small models of every topology with random weights, and random input for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from patchword.config import (
    ALiBiPositionConfig,
    AttentionPoolConfig,
    BottleneckFusionConfig,
    CaptioningTaskConfig,
    CoAttentionFusionConfig,
    ConcatFusionConfig,
    CrossFusionConfig,
    EmbeddingHeadConfig,
    FilmFusionConfig,
    FirstPoolConfig,
    FusionConfig,
    GatedFusionConfig,
    GEGLUConfig,
    HeadConfig,
    HierarchicalPoolConfig,
    ImageTowerConfig,
    JointFusionConfig,
    LabelHeadConfig,
    LanguageHeadConfig,
    LastPoolConfig,
    LearnedPositionConfig,
    LowRankFusionConfig,
    MeanPoolConfig,
    ModelConfig,
    NoPositionConfig,
    PerModalityFeedForwardConfig,
    PerModalityPositionConfig,
    PerModalityProjectionConfig,
    PositionConfig,
    PrefixFusionConfig,
    RelativeBiasPositionConfig,
    RelativeKeyPositionConfig,
    RereadFusionConfig,
    RMSNormConfig,
    RotaryPositionConfig,
    SinusoidalPositionConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    StandardFeedForwardConfig,
    SummaryConfig,
    TensorFusionConfig,
    TextTowerConfig,
    TokenHeadConfig,
    WeightedFusionConfig,
    override,
)
from patchword.models.create import create_model
from patchword.models.model import Model
from patchword.models.presets import PRESETS, preset
from patchword.sequence import ImageInput
from patchword.testing import randomise

VOCAB, PATCH = 23, 4
SPEAKERS = [name for name in PRESETS if isinstance(preset(name).task, CaptioningTaskConfig)]
"""Presets that say something, word by word."""
SUMMARY = SummaryConfig(num_queries=3)
POOLS = {
    "mean": MeanPoolConfig(),
    "first": FirstPoolConfig(),
    "last": LastPoolConfig(),
    "attention": AttentionPoolConfig(),
}
SMALL: dict[str, Any] = {
    "model.image.dim": 24,
    "model.image.depth": 1,
    "model.image.image_size": [16, 16],
    "model.image.patch_size": [PATCH, PATCH],
    "model.text.dim": 24,
    "model.text.vocab_size": VOCAB,
    "model.trunk.dim": 24,
    "model.trunk.depth": 2,
}


def small(name: str) -> ModelConfig:
    """A preset's model, narrow and shallow; as many convolutions as small patches allow, where it has any.

    Without what compares all samples with all: every head then says something of each sample alone.
    """
    run = preset(name)
    image = run.model.towers["image"]
    assert isinstance(image, ImageTowerConfig)
    model = override(run, SMALL | {"model.image.stem": [5, 6] if image.stem else []}).model
    heads: dict[str, HeadConfig] = {n: h for n, h in model.heads.items() if isinstance(h, TokenHeadConfig)}
    return model.replace(heads=heads)


def toy(
    fusion: FusionConfig,
    position: PositionConfig,
    *,
    text_depth: int = 0,
    cls: bool = True,
    two: bool = False,
    window: int | None = None,
) -> ModelConfig:
    """A captioner of unequal widths; with `two`, there is a second picture."""
    own = SoftmaxAttentionConfig(num_heads=4, num_kv_heads=2)
    image = ImageTowerConfig(
        dim=12,
        depth=1,
        image_size=(16, 16),
        patch_size=(PATCH, PATCH),
        cls_token=cls,
        embed_norm=not cls,
        stem=(6, 8) if two else (),
        position=RotaryPositionConfig() if not cls else LearnedPositionConfig(),
        attention=SoftmaxAttentionConfig(num_heads=3),
        norm=RMSNormConfig(),
    )
    text = TextTowerConfig(
        dim=16,
        depth=text_depth,
        vocab_size=VOCAB,
        max_len=12,
        position=NoPositionConfig() if isinstance(position, RotaryPositionConfig) else LearnedPositionConfig(),
        attention=own.replace(causal=True),
        embed_scale=True,
    )
    towers = {"image": image, "text": text}
    if two:
        towers["other"] = image.replace(dim=24, depth=2, cls_token=False)
    return ModelConfig(
        towers=towers,
        fusion=fusion,
        trunk=StackConfig(
            dim=16,
            depth=2,
            position=position,
            attention=own.replace(causal=fusion.continues, window=window),
            cross_attention=own if fusion.gives_memory else None,
        ),
        heads=({"text": LanguageHeadConfig(bias=True)} if fusion.continues else {})
        | {"label": LabelHeadConfig(num_classes=5, pool=POOLS["last"])},
    )


def by_modality() -> ModelConfig:
    """A captioner whose trunk has positions, projections and feed-forwards of each modality."""
    position = PerModalityPositionConfig(
        of={"image": RelativeBiasPositionConfig(num_buckets=4, max_distance=3), "text": ALiBiPositionConfig()}
    )
    config = toy(PrefixFusionConfig(), position)
    assert config.trunk is not None
    assert config.trunk.attention is not None
    own = config.trunk.attention.replace(projection=PerModalityProjectionConfig(names=("image", "text")), gate=True)
    ffn = PerModalityFeedForwardConfig(of={"image": StandardFeedForwardConfig(), "text": GEGLUConfig()})
    return config.replace(trunk=config.trunk.replace(attention=own, ffn=ffn))


def dual() -> ModelConfig:
    """Two towers that do not meet, every pooling on each."""
    towers = toy(CrossFusionConfig(), NoPositionConfig(), text_depth=1).towers
    towers["image"] = towers["image"].replace(dim=16, attention=SoftmaxAttentionConfig(num_heads=4))
    heads: dict[str, HeadConfig] = {
        f"{tower} {name}": EmbeddingHeadConfig(source=tower, out_dim=6, pool=pool, normalize=name != "mean")
        for tower in ("image", "text")
        for name, pool in POOLS.items()
    }
    return ModelConfig(towers=towers, heads=heads)


CAPTIONERS: dict[str, ModelConfig] = {
    **{name: small(name) for name in SPEAKERS},
    "cross, learned": toy(CrossFusionConfig(), LearnedPositionConfig(max_len=20), text_depth=1),
    "cross, two pictures": toy(CrossFusionConfig(projector="mlp"), NoPositionConfig(), two=True),
    "prefix, learned": toy(PrefixFusionConfig(), LearnedPositionConfig(max_len=60), text_depth=1),
    "prefix, two pictures": toy(PrefixFusionConfig(projector="mlp"), RotaryPositionConfig(), cls=False, two=True),
    "prefix, window": toy(PrefixFusionConfig(), RotaryPositionConfig(), window=12),
    "cross, summaries of two pictures": toy(CrossFusionConfig(summary=SUMMARY), NoPositionConfig(), two=True),
    "prefix, summary": toy(PrefixFusionConfig(summary=SUMMARY), RotaryPositionConfig(), text_depth=1),
    "film, two pictures": toy(FilmFusionConfig(), SinusoidalPositionConfig(), text_depth=1, two=True),
    "prefix, by modality": by_modality(),
    "joint, relative keys": toy(JointFusionConfig(), RelativeKeyPositionConfig(max_distance=5)),
    "joint, sinusoidal": toy(JointFusionConfig(), SinusoidalPositionConfig(), text_depth=1),
    "joint, window": toy(JointFusionConfig(), NoPositionConfig(), cls=False, window=12),
    "joint, two pictures": toy(JointFusionConfig(projector="linear"), RotaryPositionConfig(), cls=False, two=True),
}
MEETINGS: dict[str, FusionConfig] = {
    "co-attention": CoAttentionFusionConfig(),
    "reread": RereadFusionConfig(projector="mlp"),
    "bottleneck": BottleneckFusionConfig(num_tokens=2),
    "concat": ConcatFusionConfig(pool=HierarchicalPoolConfig(window=3, stride=2, num_heads=2)),
    "weighted": WeightedFusionConfig(pool=AttentionPoolConfig(num_queries=2)),
    "gated": GatedFusionConfig(),
    "tensor": TensorFusionConfig(width=4),
    "low rank": LowRankFusionConfig(),
}
MODELS = CAPTIONERS | {"dual": dual()} | {name: toy(f, NoPositionConfig(), two=True) for name, f in MEETINGS.items()}
"""Also such as say nothing: their heads read what the fusion made of all towers."""


def build(config: ModelConfig, dtype: torch.dtype = torch.float64) -> Model:
    """The model with random weights, in evaluation."""
    model = create_model(config)
    randomise(model, torch.Generator().manual_seed(7))
    return model.to(dtype).eval()


def pictures(*sizes: tuple[int, int], canvas: tuple[int, int] | None = None) -> ImageInput:
    """Random pictures of these sizes on one canvas, what is beside them is noise."""
    high, wide = canvas or (max(h for h, _ in sizes), max(w for _, w in sizes))
    return ImageInput(torch.rand(len(sizes), 3, high, wide, dtype=torch.float64), torch.tensor(sizes).view(-1, 2))


def image_names(config: ModelConfig) -> list[str]:
    """The towers that see."""
    return [name for name, tower in config.towers.items() if isinstance(tower, ImageTowerConfig)]


def sample(config: ModelConfig, *sizes: tuple[int, int], length: int = 7) -> dict[str, Any]:
    """Input for every tower: pictures of these sizes, and as many texts."""
    inputs: dict[str, Any] = {name: pictures(*sizes) for name in image_names(config)}
    return inputs | {"text": torch.randint(0, VOCAB, (len(sizes), length))}


def close(got: Tensor, want: Tensor, tolerance: float = 1e-9) -> None:
    """Equal within what float64 leaves."""
    torch.testing.assert_close(got, want, atol=tolerance, rtol=tolerance)
