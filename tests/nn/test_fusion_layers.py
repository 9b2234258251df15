"""Fusions with layers of their own, against plain loops; who hears whom; without the towers that are absent."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from patchword.config import (
    BottleneckFusionConfig,
    CoAttentionFusionConfig,
    ConfigError,
    CrossLayersConfig,
    FusionConfig,
    LayersConfig,
    LinearAttentionConfig,
    LinformerAttentionConfig,
    PerModalityFeedForwardConfig,
    RereadFusionConfig,
    ResidualConfig,
    SoftmaxAttentionConfig,
    StandardFeedForwardConfig,
)
from patchword.nn.fusion.bottleneck import Exchange
from patchword.sequence import SequenceInfo, Tokens, real
from patchword.testing import randomise

DIMS, DIM = {"image": 12, "text": 16, "sound": 8}, 16
CO, REREAD, BOTTLENECK = CoAttentionFusionConfig(), RereadFusionConfig(), BottleneckFusionConfig()
POST = ResidualConfig(placement="post")


def built(config: FusionConfig, dims: dict[str, int] = DIMS) -> Any:
    fusion = config.build(dims, DIM)
    randomise(fusion, torch.Generator().manual_seed(1))
    return fusion.double().eval()


def parts(rows: int = 2) -> dict[str, Tokens]:
    given = {}
    for name, length in zip(DIMS, (4, 3, 2)):
        valid = torch.ones(rows, length, dtype=torch.bool)
        valid[1:, -1] = False
        given[name] = Tokens(torch.randn(rows, length, DIMS[name], dtype=torch.float64), SequenceInfo(valid=valid))
    return given


def close(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, atol=1e-10, rtol=1e-10)


def attended(layer: Any, x: Tensor, memory: Tensor) -> Tensor:
    """One row's attention, a head at a time; [T, D], [S, D] -> [T, D]."""
    q, k, v = layer.q_proj(x), layer.k_proj(memory), layer.v_proj(memory)
    out = []
    for h in range(layer.num_heads):
        own = slice(h * layer.head_dim, (h + 1) * layer.head_dim)
        out.append((q[:, own] @ k[:, own].T / layer.head_dim**0.5).softmax(-1) @ v[:, own])
    return layer.out_proj(torch.cat(out, -1))


def summed(layer: Any, x: Tensor, memories: dict[str, Tensor]) -> Tensor:
    """What a row finds in several memories."""
    return torch.stack([attended(layer.of[name], x, memory) for name, memory in memories.items()]).sum(0)


def row_of(fusion: Any, given: dict[str, Tokens], i: int) -> dict[str, Tensor]:
    """The real tokens of one row, at the trunk's width."""
    return {name: fusion.projectors(name, t.x[i][real(t)[i]]) for name, t in given.items()}


def step(residual: Any, x: Tensor, f: Any) -> Tensor:
    """One residual step, pre- or post-norm."""
    return x + f(residual.norm(x)) if residual.pre else residual.norm(x + f(x))


# ------------------------------------------------------------------ co-attention


def co_attention_row(fusion: Any, x: dict[str, Tensor]) -> dict[str, Tensor]:
    for i in range(fusion.depth):
        blocks = {name: fusion.streams[name].blocks[i] for name in x}
        shown = {n: b.cross_attn.norm(x[n]) if b.cross_attn.pre else x[n] for n, b in blocks.items()}
        new = {}
        for name, block in blocks.items():
            own, cross = block.self_attn, block.cross_attn
            y = step(own, x[name], lambda z, layer=own.step: attended(layer, z, z))
            others = [n for n in x if n != name]
            seen = {n: shown[n] for n in others}
            y = step(cross, y, lambda z, layer=cross.step, seen=seen: summed(layer, z, seen))
            new[name] = step(block.ffn, y, block.ffn.step)
        x = new
    return {name: y if fusion.streams[name].norm is None else fusion.streams[name].norm(y) for name, y in x.items()}


@pytest.mark.parametrize("residual", [ResidualConfig(), POST], ids=["pre", "post"])
def test_co_attention(residual: ResidualConfig) -> None:
    layers = CrossLayersConfig(residual=residual, final_norm=residual.placement == "pre")
    fusion, given = built(CO.replace(layers=layers)), parts()
    tokens = fusion(given).tokens
    assert tokens.info.modality is not None
    assert tokens.info.modality[0].tolist() == [0] * 4 + [1] * 3 + [2] * 2
    for i in range(2):
        want = co_attention_row(fusion, row_of(fusion, given, i))
        close(tokens.x[i][real(tokens)[i]], torch.cat(list(want.values())))


def test_a_layer_is_one_step_of_all_towers() -> None:
    """A token of one tower reaches another in the first layer, and a third by way of it in the second at the latest."""
    fusion = built(CO.replace(layers=CrossLayersConfig(depth=1)))
    given = parts()
    x = given["sound"].x.clone().requires_grad_()
    tokens = fusion(given | {"sound": Tokens(x, given["sound"].info)}).tokens
    assert tokens.info.modality is not None
    for tower in range(3):
        (gradient,) = torch.autograd.grad(of_tower(tokens, tower)[:1].sum(), x, retain_graph=True)
        assert gradient[0].abs().max() > 1e-6


# ------------------------------------------------------------------ reread


def test_reread() -> None:
    fusion, given = built(REREAD), parts()
    tokens = fusion(given).tokens
    for i in range(2):
        towers = row_of(fusion, given, i)
        x = torch.cat(list(towers.values()))
        for block in fusion.stack.blocks:
            x = step(block.self_attn, x, lambda z, layer=block.self_attn.step: attended(layer, z, z))
            x = step(block.cross_attn, x, lambda z, layer=block.cross_attn.step, seen=towers: summed(layer, z, seen))
            x = step(block.ffn, x, block.ffn.step)
        close(tokens.x[i][real(tokens)[i]], fusion.stack.norm(x))


# ------------------------------------------------------------------ bottleneck


def test_bottleneck() -> None:
    fusion, given = built(BOTTLENECK.replace(layers=LayersConfig(depth=3), num_tokens=2)), parts()
    given["sound"] = Tokens(given["sound"].x, SequenceInfo(valid=torch.tensor([[True, True], [False, False]])))
    tokens = fusion(given).tokens
    for i in range(2):
        x, shared = row_of(fusion, given, i), fusion.tokens
        x = {name: y for name, y in x.items() if len(y)}
        for layer in range(3):
            left = []
            for name, y in x.items():
                block = fusion.streams[name].blocks[layer]
                z = torch.cat([y, shared])
                z = step(block.self_attn, z, lambda a, own=block.self_attn.step: attended(own, a, a))
                z = step(block.ffn, z, block.ffn.step)
                x[name] = z[:-2]
                left.append(z[-2:])
            shared = torch.stack(left).mean(0)
        want = [fusion.streams[name].norm(y) for name, y in x.items()]
        close(tokens.x[i][real(tokens)[i]], torch.cat(want))


def of_tower(tokens: Tokens, index: int) -> Tensor:
    """One tower's part of a sequence of all."""
    assert tokens.info.modality is not None
    return tokens.x[:, tokens.info.modality[0] == index]


def crossing(fusion: Any) -> Tensor:
    """How much each tower's tokens move each tower's result; [from, to]."""
    given, moved = parts(), torch.zeros(3, 3)
    for source, name in enumerate(DIMS):
        x = given[name].x.clone().requires_grad_()
        tokens = fusion(given | {name: Tokens(x, given[name].info)}).tokens
        for to in range(3):
            out = of_tower(tokens, to).square().sum()
            (gradient,) = torch.autograd.grad(out, x, retain_graph=True)
            moved[source, to] = gradient.abs().max()
    return moved


def test_towers_talk_through_the_bottleneck_alone() -> None:
    fusion = built(BOTTLENECK.replace(layers=LayersConfig(depth=3)))
    assert (crossing(fusion) > 1e-6).all()
    fusion.exchange.register_forward_hook(lambda module, given, out: torch.zeros_like(out))
    alone = crossing(fusion)
    assert (alone.diagonal() > 1e-6).all()
    assert (alone * (1 - torch.eye(3)) == 0).all(), "with its tokens zeroed no gradient crosses"


def test_an_exchange_is_a_mean_of_those_that_are_there() -> None:
    left, before = list(torch.randn(3, 4, 2, 5)), torch.randn(4, 2, 5)
    there = torch.tensor([[True] * 3, [False, True, True], [False, False, True], [False] * 3])
    got = Exchange()(left, there, before)
    want = [sum(y[0] for y in left) / 3, (left[1][1] + left[2][1]) / 2, left[2][2], before[3]]
    torch.testing.assert_close(got, torch.stack(want))


# ------------------------------------------------------------------ absent towers, and their order

EACH = pytest.mark.parametrize("config", [CO, REREAD, BOTTLENECK], ids=lambda c: c.kind)


@EACH
@pytest.mark.parametrize("absent", DIMS)
def test_an_absent_tower_is_as_if_it_did_not_exist(config: FusionConfig, absent: str) -> None:
    fusion, given = built(config), parts()
    less = built(config, {name: width for name, width in DIMS.items() if name != absent})
    held = fusion.state_dict()
    less.load_state_dict({name: held[name] for name in less.state_dict()})
    got = fusion(given | {absent: Tokens(given[absent].x[:, :0])}).tokens
    want = less({name: tokens for name, tokens in given.items() if name != absent}).tokens
    close(got.x, want.x)
    assert torch.equal(real(got), real(want))


@EACH
def test_the_order_of_towers_has_no_meaning(config: FusionConfig) -> None:
    fusion, turned, given = built(config), built(config, dict(reversed(DIMS.items()))), parts()
    turned.load_state_dict(fusion.state_dict())
    one, two = fusion(given).tokens, turned(given).tokens
    for i, j in enumerate(reversed(range(3))):
        close(of_tower(one, i), of_tower(two, j))


# ------------------------------------------------------------------ refusals and choices


def test_other_mechanisms_inside() -> None:
    shared = LinformerAttentionConfig(max_len=8, pooled_len=1, sharing="layerwise")
    fusion = built(CO.replace(layers=CrossLayersConfig(attention=LinearAttentionConfig(), cross_attention=shared)))
    first, second = (fusion.streams["text"].blocks[i].cross_attn.step.of["image"].mechanism for i in range(2))
    assert {id(p) for p in first.parameters()} == {id(p) for p in second.parameters()}, "one map for all layers"
    assert fusion(parts()).tokens.x.isfinite().all()


REFUSED: dict[str, Any] = {
    "attention.causal: hides nothing": lambda: LayersConfig(attention=SoftmaxAttentionConfig(causal=True)),
    "there is only one": lambda: BottleneckFusionConfig(layers=LayersConfig(depth=1)),
    "leaves the shared tokens out of sight": lambda: BottleneckFusionConfig(
        layers=LayersConfig(attention=SoftmaxAttentionConfig(window=3))
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refusals(message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        REFUSED[message]()


def misfits(config: FusionConfig, dims: dict[str, int] = DIMS, dim: int = DIM) -> dict[str, str]:
    return dict(config.misfits(dims, dim))


def test_layers_must_fit_the_towers() -> None:
    halves = PerModalityFeedForwardConfig(of=dict.fromkeys(reversed(DIMS), StandardFeedForwardConfig()))
    own = PerModalityFeedForwardConfig(of=dict.fromkeys(DIMS, StandardFeedForwardConfig()))
    assert misfits(CO) == misfits(REREAD) == misfits(BOTTLENECK) == {}
    assert misfits(CO, {"text": 16}) == {"kind": "co_attention fusion is between towers: there is only text"}
    assert misfits(REREAD, {"text": 16}) == {}
    assert misfits(CO, dim=18) == {
        "layers.attention.num_heads": "dim 18 is not divisible by num_heads 4",
        "layers.cross_attention.num_heads": "dim 18 is not divisible by num_heads 4",
    }
    assert list(misfits(CO.replace(layers=CrossLayersConfig(ffn=own)))) == ["layers.ffn.of"]
    assert list(misfits(REREAD.replace(layers=CrossLayersConfig(ffn=halves)))) == ["layers.ffn.of"]
    reread = REREAD.replace(layers=CrossLayersConfig(ffn=own))
    assert misfits(reread) == {}
    assert built(reread)(parts()).tokens.x.isfinite().all()
