"""The sigmoid gate on what heads gather (Qiu et al. 2025), with any mechanism."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from patchword.config import AttentionConfig, SoftmaxAttentionConfig, StackConfig
from patchword.nn import Stack
from patchword.sequence import SequenceInfo, Tokens
from patchword.testing import Case, Subject, laws_for, randomise

SMALL: dict[str, dict[str, Any]] = {"linformer": {"max_len": 12, "pooled_len": 3}, "topk": {"k": 3}}
KINDS = sorted(
    kind for kind, c in AttentionConfig.kinds.items() if issubclass(c, AttentionConfig) and c.implementation is not None
)


def attention(kind: str, **settings: Any) -> AttentionConfig:
    return AttentionConfig.kinds[kind](**{"num_heads": 4, **SMALL.get(kind, {}), **settings})  # pyright: ignore


@pytest.mark.parametrize(
    ("kind", "cross"),
    [(k, c) for k in KINDS for c in (False, True) if not c or "cross" in AttentionConfig.kinds[k].can],  # pyright: ignore
)
@pytest.mark.filterwarnings("ignore::patchword.nn.mechanisms.linformer.LinformerCostWarning")
def test_it_multiplies_each_number_that_a_head_gathers(kind: str, cross: bool) -> None:
    own = attention(kind, gate=True)
    roles = {"attention": None if cross else own, "cross_attention": own if cross else None}
    stack = Stack(StackConfig(dim=16, depth=1, **roles))  # pyright: ignore[reportArgumentType]
    randomise(stack, torch.Generator().manual_seed(3))
    stack.double().eval()
    layer = (stack.blocks[0].cross_attn if cross else stack.blocks[0].self_attn).step  # pyright: ignore
    calls = {}
    layer.mechanism.register_forward_hook(lambda *call: calls.update(heads=call[2]))  # pyright: ignore
    layer.register_forward_hook(lambda *call: calls.update(seen=call[1][0], result=call[2]))  # pyright: ignore
    x, valid = torch.randn(2, 6, 16, dtype=torch.float64), torch.tensor([[True] * 6, [False] + [True] * 4 + [False]])
    memory = Tokens(torch.randn(2, 7, 16, dtype=torch.float64)) if cross else None
    stack(Tokens(x, SequenceInfo(valid=valid)), memory)
    gathered = calls["heads"].transpose(1, 2).flatten(2)  # [B, T, H E]
    weight = layer.gate_proj.weight  # pyright: ignore
    gate = 1 / (1 + torch.exp(-(calls["seen"] @ weight.T + layer.gate_proj.bias)))  # pyright: ignore
    assert gate.shape == gathered.shape == (2, 6, 16)
    want = (gathered * gate) @ layer.out_proj.weight.T + layer.out_proj.bias  # pyright: ignore
    torch.testing.assert_close(calls["result"], want, atol=1e-12, rtol=1e-12)


def test_gates_of_a_half_are_half_of_attention() -> None:
    plain, gated = (
        Stack(StackConfig(dim=16, depth=1, ffn=None, final_norm=False, attention=attention("softmax", gate=gate)))
        for gate in (False, True)
    )
    gated.load_state_dict(plain.state_dict(), strict=False)
    layer = gated.blocks[0].self_attn.step  # pyright: ignore
    torch.nn.init.zeros_(layer.gate_proj.weight)  # pyright: ignore
    torch.nn.init.zeros_(layer.gate_proj.bias)  # pyright: ignore
    torch.nn.init.zeros_(layer.out_proj.bias)  # pyright: ignore
    torch.nn.init.zeros_(plain.blocks[0].self_attn.step.out_proj.bias)  # pyright: ignore
    x = torch.randn(2, 5, 16)
    torch.testing.assert_close(gated(Tokens(x)) - x, (plain(Tokens(x)) - x) / 2)


@pytest.mark.parametrize("cross", [False, True])
def test_every_law_holds_with_a_gate(cross: bool) -> None:
    own = SoftmaxAttentionConfig(num_heads=4, num_kv_heads=2, causal=True, gate=True)
    other = SoftmaxAttentionConfig(num_heads=4, gate=True) if cross else None
    case = Case(StackConfig(dim=16, attention=own, cross_attention=other), name="gate")
    for law in laws_for(case):
        law.holds(Subject(case))


def test_it_is_one_more_map() -> None:
    plain, gated = (
        sum(p.numel() for p in Stack(StackConfig(dim=16, depth=1, attention=attention("softmax", gate=g))).parameters())
        for g in (False, True)
    )
    assert gated - plain == 16 * 16 + 16
