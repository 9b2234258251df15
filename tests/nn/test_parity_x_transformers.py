"""Stacks against `x-transformers`: whole layers with random weights, mapped by name, to 1e-5."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor
from wide_cases import pairwise

from patchword.config import (
    ALiBiPositionConfig,
    GEGLUConfig,
    LayerNormConfig,
    RelativeBiasPositionConfig,
    ReLU2Config,
    ResidualConfig,
    RMSNormConfig,
    RotaryPositionConfig,
    ScaleNormConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    StandardFeedForwardConfig,
    SwiGLUConfig,
)
from patchword.nn import Stack
from patchword.sequence import SequenceInfo, Tokens
from patchword.testing import randomise

with warnings.catch_warnings():  # it, and what it imports, use what torch deprecates
    warnings.simplefilter("ignore")
    x_transformers = pytest.importorskip("x_transformers", reason="needs the dev extra: pip install patchword[dev]")

DIM, HEADS, WIDTH, HIDDEN, DEPTH = 24, 6, 8, 40, 2

Pair = tuple[dict[str, Any], dict[str, Any]]
"""Their settings, and ours for the same."""

POSITIONS: dict[str, Pair] = {
    "none": ({}, {}),
    "relative bias": ({"rel_pos_bias": True}, {"position": RelativeBiasPositionConfig()}),
    "short relative bias": (
        {"rel_pos_bias": True, "rel_pos_num_buckets": 8, "rel_pos_max_distance": 9},
        {"position": RelativeBiasPositionConfig(num_buckets=8, max_distance=9)},
    ),
    "alibi": ({"alibi_pos_bias": True}, {"position": ALiBiPositionConfig()}),
    "rotary": ({"rotary_pos_emb": True, "rotary_emb_dim": WIDTH}, {"position": RotaryPositionConfig()}),
    "partial rotary": ({"rotary_pos_emb": True, "rotary_emb_dim": 4}, {"position": RotaryPositionConfig(share=0.5)}),
}
FEEDS: dict[str, Pair] = {
    "gelu": ({}, {"ffn": StandardFeedForwardConfig(hidden_dim=HIDDEN)}),
    "geglu": ({"ff_glu": True}, {"ffn": GEGLUConfig(hidden_dim=HIDDEN)}),
    "swiglu": ({"ff_glu": True, "ff_swish": True}, {"ffn": SwiGLUConfig(hidden_dim=HIDDEN)}),
    "relu2": ({"ff_relu_squared": True}, {"ffn": ReLU2Config(hidden_dim=HIDDEN)}),
}
PLACEMENTS: dict[str, Pair] = {
    "pre": ({}, {}),
    "sandwich": ({"sandwich_norm": True}, {"residual": ResidualConfig(placement="sandwich")}),
    "post": ({"pre_norm": False}, {"residual": ResidualConfig(placement="post"), "final_norm": False}),
}
NORMS: dict[str, Pair] = {
    "layernorm": ({}, {"norm": LayerNormConfig(bias=False)}),
    "rmsnorm": ({"use_rmsnorm": True}, {"norm": RMSNormConfig(eps=1e-12)}),
    "scalenorm": ({"use_scalenorm": True}, {"norm": ScaleNormConfig(eps=1e-12)}),
}
CHOICES: dict[str, tuple[Any, ...]] = {
    "position": tuple(POSITIONS),
    "ffn": tuple(FEEDS),
    "placement": tuple(PLACEMENTS),
    "norm": tuple(NORMS),
    "groups": (None, 2, 1),
    "causal": (False, True),
}
CASES = [{name: CHOICES[name][i] for name, i in case.items()} for case in pairwise(CHOICES)]
"""Every two choices meet in some case."""


def head_order(groups: int | None) -> list[int]:
    """Their query heads in our order: head h of theirs shares keys h mod G, of ours h // (H / G)."""
    return [head for group in range(groups or HEADS) for head in range(group, HEADS, groups or HEADS)]


def turned_as_ours(weight: Tensor, width: int) -> Tensor:
    """Rows of a query or key map in our order: they turn (x_2i, x_2i+1), ours (x_i, x_{i + width/2}); [heads, E, D]."""
    order = [*range(0, width, 2), *range(1, width, 2), *range(width, WIDTH)]
    return weight.unflatten(0, (-1, WIDTH))[:, order]


def gain(theirs: Any, name: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The gain of a norm under our name."""
    kind = type(theirs).__name__
    if kind == "LayerNorm":
        return {f"{name}.weight": weights["gamma"] + theirs.unit_offset}
    own = weights["g"] + theirs.unit_offset
    return {f"{name}.weight": own} if kind == "RMSNorm" else {f"{name}.gain": own[0] * DIM**0.5}


def mapped(theirs: Any, config: StackConfig) -> dict[str, Tensor]:
    """Their weights under our names."""
    out: dict[str, Tensor] = {}
    assert config.attention is not None
    order = head_order(config.attention.num_kv_heads)
    turned = config.position.turned(WIDTH) if isinstance(config.position, RotaryPositionConfig) else 0
    for number, (norms, step, _) in enumerate(theirs.layers):
        block = f"blocks.{number // 2}.{'ffn' if number % 2 else 'self_attn'}"
        for norm, name in zip(norms, ("norm", "out_norm", "norm"), strict=True):
            if norm is not None:
                out |= gain(norm, f"{block}.{name}", norm.state_dict())
        w = step.state_dict()
        if number % 2 == 0:
            out[f"{block}.step.q_proj.weight"] = turned_as_ours(w["to_q.weight"], turned)[order].flatten(0, 1)
            out[f"{block}.step.k_proj.weight"] = turned_as_ours(w["to_k.weight"], turned).flatten(0, 1)
            out[f"{block}.step.v_proj.weight"] = w["to_v.weight"]
            out[f"{block}.step.out_proj.weight"] = w["to_out.weight"].unflatten(1, (-1, WIDTH))[:, order].flatten(1)
            continue
        for end in ("weight", "bias"):
            out[f"{block}.step.down_proj.{end}"] = w[f"ff.2.{end}"]
            if f"ff.0.proj.{end}" in w:
                up, gate = w[f"ff.0.proj.{end}"].chunk(2)
                out |= {f"{block}.step.up_proj.{end}": up, f"{block}.step.gate_proj.{end}": gate}
            else:
                out[f"{block}.step.up_proj.{end}"] = w[f"ff.0.0.{end}"]
    if theirs.rel_pos is not None and isinstance(config.position, RelativeBiasPositionConfig):
        out["position.table.weight"] = theirs.rel_pos.relative_attention_bias.weight[:, order] * theirs.rel_pos.scale
    if config.final_norm:
        out |= gain(theirs.final_norm, "norm", theirs.final_norm.state_dict())
    return out


def both(causal: bool, groups: int | None, *picks: Pair) -> tuple[Any, Stack]:
    """Their stack and ours, with the same random weights."""
    their_settings, our_settings = {}, {}
    for their, our in picks:
        their_settings |= their
        our_settings |= our
    made = (x_transformers.Decoder if causal else x_transformers.Encoder)(
        dim=DIM,
        depth=DEPTH,
        heads=HEADS,
        attn_dim_head=WIDTH,
        attn_kv_heads=groups,
        ff_mult=HIDDEN / DIM,
        **their_settings,
    )
    randomise(made, torch.Generator().manual_seed(9))
    attention = SoftmaxAttentionConfig(
        num_heads=HEADS, num_kv_heads=groups, head_dim=WIDTH, causal=causal, bias=False, out_bias=False
    )
    ours = Stack(StackConfig(dim=DIM, depth=DEPTH, attention=attention, **our_settings))
    ours.load_state_dict(mapped(made, ours.config))
    return made.double().eval(), ours.double().eval()


@pytest.mark.parametrize("case", CASES, ids=lambda case: " ".join(map(str, case.values())))
@torch.no_grad()
def test_a_stack_equals_theirs(case: dict[str, Any]) -> None:
    """With and without padding on either side."""
    picks = POSITIONS[case["position"]], FEEDS[case["ffn"]], PLACEMENTS[case["placement"]], NORMS[case["norm"]]
    groups = case["groups"] if case["position"] != "alibi" or case["groups"] != 2 else None  # slopes go by head number
    theirs, ours = both(case["causal"], groups, *picks)
    x = torch.randn(2, 11, DIM, dtype=torch.float64)
    left = torch.arange(11) >= torch.tensor([[0], [4]])
    for valid in (None, left, left.flip(1)):
        got, want = ours(Tokens(x, SequenceInfo(valid=valid))), theirs(x, mask=valid)
        real = torch.ones(2, 11, dtype=torch.bool) if valid is None else valid
        torch.testing.assert_close(got[real], want[real], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("heads", [1, 2, 3, 6, 8, 12, 20])
def test_alibi_slopes_equal_theirs(heads: int) -> None:
    from x_transformers.x_transformers import AlibiPositionalBias

    from patchword.nn.positions.alibi import slopes

    torch.testing.assert_close(slopes(heads), torch.tensor(AlibiPositionalBias._get_slopes(heads)))
