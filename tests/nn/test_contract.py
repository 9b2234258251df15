"""The contract of stacks: every law in every wide case, and with softmax in every shape that the contract knows."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from wide_cases import CHOICES, WIDE, pairwise

from patchword.config import SoftmaxAttentionConfig, StackConfig
from patchword.testing import LAWS, Case, Law, Subject, check_mechanism, laws_for
from patchword.testing.check import POSITIONS


def each(cases: list[Case]) -> pytest.MarkDecorator:
    pairs = [(case, law) for case in cases for law in laws_for(case)]
    return pytest.mark.parametrize(("case", "law"), pairs, ids=[f"{c.name}-{law.name}" for c, law in pairs])


@each(WIDE)
def test_law(case: Case, law: Law) -> None:
    law.holds(Subject(case))


def test_every_two_choices_meet_in_some_wide_case() -> None:
    cases = pairwise(CHOICES)
    for (a, left), (b, right) in itertools.combinations(CHOICES.items(), 2):
        met = {(case[a], case[b]) for case in cases}
        assert len(met) == len(left) * len(right), f"{a} x {b}"


def test_every_law_has_cases() -> None:
    asked = {law.name for case in WIDE for law in laws_for(case)}
    assert asked == {law.name for law in LAWS}


@pytest.mark.slow
def test_softmax_passes_its_whole_contract() -> None:
    counts = check_mechanism(SoftmaxAttentionConfig)
    assert counts.pop("refused") == 0
    assert set(counts) == {law.name for law in LAWS}


def product() -> list[Case]:
    """Softmax with everything that touches a mask, a place or a cache."""
    cases = []
    for (position, grid), groups, causal, window, cross, dtype in itertools.product(
        POSITIONS, (None, 2, 1), (False, True), (None, 3), (False, True), (torch.float64, torch.float32)
    ):
        own = SoftmaxAttentionConfig(num_kv_heads=groups, causal=causal, window=window)
        other = SoftmaxAttentionConfig(num_kv_heads=groups) if cross else None
        stack = StackConfig(dim=16, position=position, attention=own, cross_attention=other)
        name = f"{position.kind} grid={grid} groups={groups} causal={causal} window={window} cross={cross} {dtype}"
        cases.append(Case(stack, grid, dtype, name=name))
    return cases


@pytest.mark.slow
@pytest.mark.parametrize("case", product(), ids=lambda case: case.name)
def test_every_shape_of_softmax(case: Case) -> None:
    for law in laws_for(case):
        law.holds(Subject(case))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_laws_on_cuda() -> None:
    for case in WIDE:
        for law in laws_for(case):
            law.holds(Subject(replace(case, device="cuda")))
