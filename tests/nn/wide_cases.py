"""Stacks that differ in everything at once: few cases in which every two choices meet somewhere."""

from __future__ import annotations

import itertools
import random
from typing import Any

import torch

from patchword.config import (
    ALiBiPositionConfig,
    GEGLUConfig,
    GLUConfig,
    LayerNormConfig,
    LearnedPositionConfig,
    NoNormConfig,
    NoPositionConfig,
    NTKRotaryScalingConfig,
    RelativeBiasPositionConfig,
    RelativeKeyPositionConfig,
    ReLU2Config,
    ResidualConfig,
    RMSNormConfig,
    RotaryPositionConfig,
    ScaleNormConfig,
    SinusoidalPositionConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    StandardFeedForwardConfig,
    SwiGLUConfig,
    YarnRotaryScalingConfig,
)
from patchword.testing import Case

NORMS = (LayerNormConfig(), LayerNormConfig(bias=False, eps=1e-3), RMSNormConfig(), ScaleNormConfig(), NoNormConfig())
CHOICES: dict[str, tuple[Any, ...]] = {
    "position": (
        (NoPositionConfig(), False),
        (LearnedPositionConfig(), False),
        (SinusoidalPositionConfig(theta=50.0), False),
        (RotaryPositionConfig(share=0.5, scaling=NTKRotaryScalingConfig()), False),
        (RotaryPositionConfig(scaling=YarnRotaryScalingConfig(trained_len=20, beta_fast=2.0)), False),
        (RotaryPositionConfig(theta=50.0), True),
        (LearnedPositionConfig(), True),
        (SinusoidalPositionConfig(), True),
        (RelativeBiasPositionConfig(num_buckets=8, max_distance=5), False),
        (RelativeBiasPositionConfig(num_buckets=6, max_distance=4), True),
        (RelativeKeyPositionConfig(max_distance=2), False),
        (ALiBiPositionConfig(), True),
    ),
    "norm": NORMS,
    "ffn": (
        StandardFeedForwardConfig(),
        StandardFeedForwardConfig(activation="relu", bias=False, hidden_dim=10, dropout=0.3),
        GLUConfig(),
        GEGLUConfig(bias=False),
        SwiGLUConfig(dropout=0.2),
        ReLU2Config(hidden_dim=12),
        None,
    ),
    "residual": (
        ResidualConfig(),
        ResidualConfig(placement="post"),
        ResidualConfig(dropout=0.2, drop_path=0.4, layer_scale=0.5),
        ResidualConfig(placement="post", dropout=0.3, layer_scale=0.7),
        ResidualConfig(placement="sandwich", dropout=0.1, layer_scale=0.7),
    ),
    "groups": (None, 2, 1),
    "qk_norm": (None, RMSNormConfig(), LayerNormConfig(), ScaleNormConfig()),
    "window": (None, 3),
    "causal": (False, True),
    "roles": ("self", "self and cross", "cross"),
    "head_dim": (None, 8),
    "bias": ((True, True), (False, True), (True, False)),
    "scale": (None, 0.7),
    "dropout": (0.0, 0.3),
    "gate": (False, True),
    "dtype": (torch.float64, torch.float32),
    "entry_norm": (False, True),
    "final_norm": (True, False),
    "depth": (2, 1),
}


def pairwise(choices: dict[str, tuple[Any, ...]], seed: int = 0, tries: int = 40) -> list[dict[str, int]]:
    """Index of each choice, case by case, so that every two choices of two kinds meet in some case.

    Each next case is the best of some random ones: that which brings most pairs together for the first time.
    """
    rng = random.Random(seed)
    names = list(choices)
    missing = {
        ((a, i), (b, j))
        for a, b in itertools.combinations(names, 2)
        for i in range(len(choices[a]))
        for j in range(len(choices[b]))
    }
    cases = []
    while missing:
        target = dict(rng.choice(sorted(missing)))

        def guess(target: dict[str, int] = target) -> dict[str, int]:
            return {name: target.get(name, rng.randrange(len(choices[name]))) for name in names}

        def pairs(case: dict[str, int]) -> set[Any]:
            return set(itertools.combinations(case.items(), 2))

        best = max((guess() for _ in range(tries)), key=lambda case: len(pairs(case) & missing))
        missing -= pairs(best)
        cases.append(best)
    return cases


def _case(number: int, index: dict[str, int]) -> Case:
    pick = {name: CHOICES[name][i] for name, i in index.items()}
    position, grid = pick["position"]
    shared = {
        "num_heads": 4,
        "num_kv_heads": pick["groups"],
        "qk_norm": pick["qk_norm"],
        "head_dim": pick["head_dim"],
        "bias": pick["bias"][0],
        "out_bias": pick["bias"][1],
        "scale": pick["scale"],
        "dropout": pick["dropout"],
        "gate": pick["gate"],
    }
    own = None
    if "self" in pick["roles"] or position.of_attention:  # such positions are refused where nothing can use them
        own = SoftmaxAttentionConfig(**shared, causal=pick["causal"], window=pick["window"])
    stack = StackConfig(
        dim=16,
        depth=pick["depth"],
        position=position,
        attention=own,
        cross_attention=SoftmaxAttentionConfig(**shared) if "cross" in pick["roles"] else None,
        ffn=pick["ffn"],
        norm=pick["norm"],
        residual=pick["residual"],
        entry_norm=pick["entry_norm"],
        final_norm=pick["final_norm"],
    )
    kinds = [pick["roles"], position.kind + (" grid" if grid else ""), pick["norm"].kind, pick["residual"].placement]
    wild = isinstance(pick["norm"], NoNormConfig)  # numbers grow until float32 has few digits left
    return Case(stack, grid, torch.float64 if wild else pick["dtype"], seed=number, name=f"{number} " + " ".join(kinds))


WIDE = [_case(number, index) for number, index in enumerate(pairwise(CHOICES))]
