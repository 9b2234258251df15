"""Stacks against torch's own transformer layers with the same weights, in float64, to 1e-10."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from patchword.config import (
    LayerNormConfig,
    ResidualConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    StandardFeedForwardConfig,
)
from patchword.nn import Stack
from patchword.sequence import SequenceInfo, Tokens
from patchword.testing import randomise

DIM, HEADS, HIDDEN, DEPTH = 24, 4, 40, 2
OWN = {"self_attn": "self_attn", "linear1": "ffn.step.up_proj", "linear2": "ffn.step.down_proj"}
ENCODER = OWN | {"norm1": "self_attn.norm", "norm2": "ffn.norm"}
DECODER = OWN | {
    "multihead_attn": "cross_attn",
    "norm1": "self_attn.norm",
    "norm2": "cross_attn.norm",
    "norm3": "ffn.norm",
}
EACH = pytest.mark.parametrize(("activation", "placement"), [(a, p) for a in ("relu", "gelu") for p in ("pre", "post")])


def translate(theirs: dict[str, Tensor], names: dict[str, str]) -> dict[str, Tensor]:
    """torch's weights under our names; the three input maps of attention are one matrix there."""
    ours = {}
    for name, weight in theirs.items():
        if name.startswith("norm."):
            ours[name] = weight
            continue
        _, index, part, *rest = name.split(".")
        target, kind = f"blocks.{index}.{names[part]}", rest[-1]
        if kind.startswith("in_proj"):
            for proj, piece in zip(("q_proj", "k_proj", "v_proj"), weight.chunk(3), strict=True):
                ours[f"{target}.step.{proj}.{kind.removeprefix('in_proj_')}"] = piece
        elif "attn" in part:
            ours[f"{target}.step.{'.'.join(rest)}"] = weight
        else:
            ours[f"{target}.{kind}"] = weight
    return ours


def stacks(kind: str, activation: Any, placement: Any) -> tuple[nn.Module, Stack]:
    """torch's stack and ours, of one shape and with one set of random weights; neither drops anything."""
    layer_type = {"encoder": nn.TransformerEncoderLayer, "decoder": nn.TransformerDecoderLayer}[kind]
    layer = layer_type(
        DIM,
        HEADS,
        HIDDEN,
        dropout=0.0,
        activation=activation,
        batch_first=True,
        norm_first=placement == "pre",
        layer_norm_eps=1e-4,
    )
    if kind == "encoder":
        theirs = nn.TransformerEncoder(layer, DEPTH, nn.LayerNorm(DIM, eps=1e-4), enable_nested_tensor=False)
    else:
        theirs = nn.TransformerDecoder(layer, DEPTH, nn.LayerNorm(DIM, eps=1e-4))
    randomise(theirs, torch.Generator().manual_seed(1))
    attention = SoftmaxAttentionConfig(num_heads=HEADS)
    config = StackConfig(
        dim=DIM,
        depth=DEPTH,
        attention=attention.replace(causal=kind == "decoder"),
        cross_attention=attention if kind == "decoder" else None,
        ffn=StandardFeedForwardConfig(hidden_dim=HIDDEN, activation=activation),
        norm=LayerNormConfig(eps=1e-4),
        residual=ResidualConfig(placement=placement),
    )
    ours = Stack(config)
    ours.load_state_dict(translate(theirs.state_dict(), ENCODER if kind == "encoder" else DECODER))
    return theirs.double(), ours.double()  # in training mode: torch's fast path is another computation


def close(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, atol=1e-10, rtol=1e-10)


@EACH
@pytest.mark.parametrize("padded", [False, True])
def test_encoder(activation: str, placement: str, padded: bool) -> None:
    theirs, ours = stacks("encoder", activation, placement)
    x = torch.randn(3, 7, DIM, dtype=torch.float64)
    valid = torch.rand(3, 7) < 0.6 if padded else torch.ones(3, 7, dtype=torch.bool)
    valid[:, 3] = True
    want = theirs(x, src_key_padding_mask=~valid)
    got = ours(Tokens(x, SequenceInfo(valid=valid if padded else None)))
    close(got[valid], want[valid])


@EACH
@pytest.mark.parametrize("padded", [False, True])
def test_decoder(activation: str, placement: str, padded: bool) -> None:
    theirs, ours = stacks("decoder", activation, placement)
    x, memory = torch.randn(3, 6, DIM, dtype=torch.float64), torch.randn(3, 5, DIM, dtype=torch.float64)
    valid, seen = torch.ones(3, 6, dtype=torch.bool), torch.ones(3, 5, dtype=torch.bool)
    if padded:
        valid[0, 4:], valid[1, 2], seen[1, :2], seen[2, 1:] = False, False, False, False
    causal = torch.ones(6, 6, dtype=torch.bool).triu(1)
    want = theirs(x, memory, tgt_mask=causal, tgt_key_padding_mask=~valid, memory_key_padding_mask=~seen)
    info = SequenceInfo(valid=valid if padded else None)
    got = ours(Tokens(x, info), Tokens(memory, SequenceInfo(valid=seen if padded else None)))
    close(got[valid], want[valid])


@EACH
def test_gradients(activation: str, placement: str) -> None:
    theirs, ours = stacks("encoder", activation, placement)
    x = torch.randn(2, 5, DIM, dtype=torch.float64)
    upstream = torch.randn(2, 5, DIM, dtype=torch.float64)
    for stack, run in ((theirs, theirs(x)), (ours, ours(Tokens(x)))):
        stack.zero_grad()
        (run * upstream).sum().backward()
    gradients = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    want = translate(gradients, ENCODER)
    assert set(want) == {name for name, _ in ours.named_parameters()}
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None, name
        close(parameter.grad, want[name])
