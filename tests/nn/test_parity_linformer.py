"""Linformer against the public `linformer` library with the same weights, and its fixture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from patchword.config import LinformerAttentionConfig, StackConfig, StandardFeedForwardConfig
from patchword.nn import Stack
from patchword.sequence import Tokens
from patchword.testing import randomise

library = pytest.importorskip("linformer.linformer", reason="needs the package linformer (the dev extra)")

NAMES = {
    "to_q": "self_attn.step.q_proj",
    "to_k": "self_attn.step.k_proj",
    "to_v": "self_attn.step.v_proj",
    "to_out": "self_attn.step.out_proj",
    "proj_k": "self_attn.step.mechanism.k_map",
    "proj_v": "self_attn.step.mechanism.v_map",
    "w1": "ffn.step.up_proj",
    "w2": "ffn.step.down_proj",
}


def translate(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """`net.layers.I.STEP.fn.NAME`, and norms before each step, under our names."""
    ours = {}
    for name, weight in theirs.items():
        _, _, layer, step, part, *rest = name.split(".")
        if part == "norm":
            target = "self_attn.norm" if step == "0" else "ffn.norm"
        else:
            target, *rest = NAMES[rest[0]], *rest[1:]
        ours[".".join([f"blocks.{layer}.{target}", *rest])] = weight
    return ours


def stack(depth: int, heads: int, length: int, pooled: int, **settings: Any) -> Stack:
    own = LinformerAttentionConfig(num_heads=heads, bias=False, max_len=length, pooled_len=pooled, **settings)
    ffn = StandardFeedForwardConfig(hidden_dim=128, activation="gelu")
    return Stack(StackConfig(dim=32, depth=depth, attention=own, ffn=ffn, final_norm=False))


def test_fixture(shared: Path) -> None:
    """Both a sequence of full length, and a shorter one."""
    path = shared / "reference" / "fixtures" / "s004_linformer.safetensors"
    if not path.is_file():
        pytest.skip("needs ../shared/reference")
    data = load_file(path)
    ours = stack(1, 4, 17, 6)
    weights = {name.removeprefix("sd/"): t for name, t in data.items() if name.startswith("sd/")}
    ours.load_state_dict(translate(weights))
    for x, y in (("x", "y"), ("x_short", "y_short")):
        torch.testing.assert_close(ours(Tokens(data[f"in/{x}"])), data[f"out/{y}"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("one_head", [False, True])
@pytest.mark.parametrize("length", [12, 7])
def test_library(one_head: bool, length: int) -> None:
    theirs = library.Linformer(dim=32, seq_len=12, depth=2, k=5, heads=4, one_kv_head=one_head).double()
    randomise(theirs, torch.Generator().manual_seed(2))
    ours = stack(2, 4, 12, 5, num_kv_heads=1 if one_head else None).double()
    ours.load_state_dict(translate(theirs.state_dict()))
    x = torch.randn(2, length, 32, dtype=torch.float64)
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    want, got = theirs(a), ours(Tokens(b))
    torch.testing.assert_close(got, want, atol=1e-10, rtol=1e-10)
    want.square().sum().backward()
    got.square().sum().backward()
    torch.testing.assert_close(b.grad, a.grad, atol=1e-9, rtol=1e-9)
    gradients = translate({name: p.grad for name, p in theirs.named_parameters() if p.grad is not None})
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], atol=1e-9, rtol=1e-9)


def test_its_shared_keys_and_values_are_one_map_here_only_with_equal_projections() -> None:
    """`share_kv` there makes values of the key projection, too; the paper shares the map along length alone."""
    theirs = library.Linformer(dim=32, seq_len=12, depth=1, k=5, heads=4, share_kv=True).double()
    randomise(theirs, torch.Generator().manual_seed(2))
    ours = stack(1, 4, 12, 5, sharing="kv").double()
    weights = translate(theirs.state_dict())
    for name, weight in list(weights.items()):
        if "k_proj" in name or "k_map" in name:
            weights[name.replace("k_proj", "v_proj").replace("k_map", "v_map")] = weight
    ours.load_state_dict(weights)
    x = torch.randn(2, 9, 32, dtype=torch.float64)
    torch.testing.assert_close(ours(Tokens(x)), theirs(x), atol=1e-10, rtol=1e-10)
    value = ours.blocks[0].self_attn.step.v_proj  # pyright: ignore
    nn.init.normal_(value.weight)  # pyright: ignore
    assert (ours(Tokens(x)) - theirs(x)).abs().max() > 1e-3
