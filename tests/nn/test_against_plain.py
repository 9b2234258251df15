"""Stacks against `plain_stack`: the same arithmetic written out in loops, in float64, to 1e-10."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import plain_stack
import pytest
import torch
from wide_cases import WIDE

from patchword.config import (
    ALiBiPositionConfig,
    GLUConfig,
    LearnedPositionConfig,
    LinearRotaryScalingConfig,
    PositionConfig,
    RelativeBiasPositionConfig,
    RelativeKeyPositionConfig,
    RotaryPositionConfig,
    SinusoidalPositionConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    StandardFeedForwardConfig,
    YarnRotaryScalingConfig,
)
from patchword.nn.activations import ACTIVATIONS
from patchword.sequence import SequenceInfo, Tokens, positions_of
from patchword.testing import Case, Subject


def compare(subject: Subject, info: SequenceInfo, memory: Tokens | None) -> None:
    batch, length = 2, 6
    x = subject.tokens(batch, length)
    got = subject.run(x, info, memory)
    valid = torch.ones(batch, length, dtype=torch.bool) if info.valid is None else info.valid
    pos = info.pos if info.pos is not None else positions_of(valid)
    facts = plain_stack.Facts(*(None if fact is None else fact.numpy() for fact in info._replace(pos=pos)))
    want = plain_stack.stack(
        {name: weight.numpy() for name, weight in subject.stack.state_dict().items()},
        subject.config,
        x.numpy(),
        facts,
        None if memory is None else memory.x.numpy(),
        None if memory is None or memory.info.valid is None else memory.info.valid.numpy(),
        {"": plain_stack.Area(4, True) if subject.case.grid else plain_stack.Area()},
    )
    real = valid.numpy()  # what is not real may give anything
    np.testing.assert_allclose(got.numpy()[real], want[real], atol=1e-10, rtol=1e-10)


def facts(subject: Subject, kind: str) -> SequenceInfo:
    valid, order = None, None
    if kind != "plain":
        valid = subject.ints([[False, True, True, False, True, True], [True] * 4 + [False] * 2])
    if kind == "all":
        order = subject.ints([[2, 2, 2, 3, 4, 5], [0, 1, 2, 4, 4, 4]])
    info = subject.facts(2, 6, valid, order)
    if kind == "all":
        info = info._replace(segment=subject.ints([[0, 0, 0, 0, 1, 1], [0, 1, 1, 1, 1, 2]]))
    return info


@pytest.mark.parametrize("kind", ["plain", "padded", "all"])
@pytest.mark.parametrize("case", WIDE, ids=lambda case: case.name)
@torch.no_grad()
def test_stack(case: Case, kind: str) -> None:
    subject = Subject(replace(case, dtype=torch.float64))
    memory = None
    if case.cross is not None:
        valid = subject.ints([[True, False, True, True, False], [False] * 5]) if kind != "plain" else None
        memory = Tokens(subject.memory[:2], SequenceInfo(valid=valid))
    compare(subject, facts(subject, kind), memory)


KINDS = [
    LearnedPositionConfig(),
    SinusoidalPositionConfig(),
    RotaryPositionConfig(share=0.5, scaling=LinearRotaryScalingConfig()),
    RotaryPositionConfig(scaling=YarnRotaryScalingConfig(trained_len=20, beta_fast=2.0)),
    RelativeBiasPositionConfig(num_buckets=6, max_distance=4),
    RelativeKeyPositionConfig(max_distance=2),
    ALiBiPositionConfig(),
]


@pytest.mark.parametrize("kind", ["plain", "padded", "all"])
@pytest.mark.parametrize("causal", [False, True], ids=["two-sided", "causal"])
@pytest.mark.parametrize("grid", [False, True], ids=["line", "grid"])
@pytest.mark.parametrize("position", KINDS, ids=lambda position: position.kind)
@torch.no_grad()
def test_positions(position: PositionConfig, grid: bool, causal: bool, kind: str) -> None:
    own = SoftmaxAttentionConfig(num_heads=3, head_dim=8, causal=causal)
    subject = Subject(Case(StackConfig(dim=12, depth=1, attention=own, position=position), grid, seed=5))
    compare(subject, facts(subject, kind), None)


@pytest.mark.parametrize("gated", [False, True], ids=["standard", "glu"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@torch.no_grad()
def test_activation(activation: Any, gated: bool) -> None:
    ffn = (GLUConfig if gated else StandardFeedForwardConfig)(activation=activation)
    subject = Subject(Case(StackConfig(dim=8, depth=1, attention=None, ffn=ffn), seed=3))
    compare(subject, subject.facts(2, 6), None)


def test_every_activation_is_compared() -> None:
    assert set(ACTIVATIONS) == set(plain_stack.FUNCTIONS)


@pytest.mark.parametrize("groups", [None, 2, 1])
@torch.no_grad()
def test_weights_are_what_attention_uses(groups: int | None) -> None:
    config = SoftmaxAttentionConfig(num_kv_heads=groups, causal=True, window=4)
    subject = Subject(Case(StackConfig(dim=16, depth=1, attention=config, ffn=None, final_norm=False), seed=4))
    step: Any = subject.stack.get_submodule("blocks.0.self_attn")
    seen: list[Any] = []
    step.step.register_forward_hook(lambda layer, args, out: seen.append((args[0], args[1], out)))
    valid = subject.ints([[True] * 6, [False, False, True, True, False, True]])
    subject.run(subject.tokens(2, 6), subject.facts(2, 6, valid))
    x, view, out = seen[0]
    weights = step.step.weights(x, view)
    assert weights.shape == (2, 4, 6, 6)
    sums = weights.sum(-1)
    assert torch.equal(sums > 0, weights.any(-1))
    subject.close(sums[sums > 0], torch.ones_like(sums[sums > 0]), "a row of weights adds up to one")
    v = step.step.v_proj(x).unflatten(-1, (groups or 4, 4)).transpose(1, 2)
    v = v.repeat_interleave(4 // (groups or 4), 1)
    subject.close(step.step.out_proj((weights @ v).transpose(1, 2).flatten(2)), out, "weights times values")
