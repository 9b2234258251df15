"""A twin computes what its module does, whatever its parts are; where it could not, there is none."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from wide_cases import WIDE

from patchword.nn import Stack
from patchword.nn.twin import Twin, is_plain, twin
from patchword.sequence import Tokens
from patchword.testing import Case, Subject
from patchword.testing.subject import cut

BOTH = pytest.mark.parametrize("relayout", [False, True], ids=["shared", "relaid"])


def stepwise(subject: Subject, stack: Stack, x: Tensor, valid: Tensor, memory: Tokens | None) -> Tensor:
    """A prompt of three, then one token at a time."""
    cache, out, start = stack.new_cache(len(x), x.shape[1], x), [], 0
    info = subject.facts(x.shape[0], x.shape[1], valid)
    for n in (3, 1, 1, 1):
        facts = cut(info, start, start + n)
        out.append(stack(Tokens(x[:, start : start + n], facts), memory, cache))
        start += n
    return torch.cat(out, 1)


@BOTH
@pytest.mark.parametrize("case", WIDE, ids=lambda case: case.name)
@torch.no_grad()
def test_every_stack_equals_its_twin(case: Case, relayout: bool) -> None:
    subject = Subject(replace(case, dtype=torch.float64))
    same = twin(subject.stack, relayout)
    assert isinstance(same, Twin)
    x, memory = subject.tokens(2, 6), subject.look(2)
    valid = subject.ints([[False, False, True, True, True, True], [True] * 6])
    want = subject.run(x, subject.facts(2, 6, valid), memory)
    got = same(Tokens(x, subject.facts(2, 6, valid)), memory)
    torch.testing.assert_close(got[valid], want[valid], atol=1e-12, rtol=1e-12)
    if subject.case.causal:
        got = stepwise(subject, same, x, valid, memory)
        torch.testing.assert_close(got[valid], want[valid], atol=1e-12, rtol=1e-12)


@BOTH
def test_weights_are_shared_or_as_they_were(relayout: bool) -> None:
    first = nn.Linear(3, 2)
    module = nn.Sequential(first, nn.LayerNorm(2))
    same, x = twin(module, relayout), torch.randn(5, 3)
    before = module(x)
    torch.testing.assert_close(same(x), before)
    with torch.no_grad():
        first.weight.mul_(-2)
    torch.testing.assert_close(same(x), before if relayout else module(x))
    assert not torch.allclose(module(x), before)


def test_a_part_in_two_places_stays_one() -> None:
    layer = nn.Linear(2, 2)
    same = twin(nn.Sequential(layer, nn.ReLU(), layer))
    assert same[0] is same[2]
    assert same[0] is not layer


def test_a_twin_is_its_own_twin() -> None:
    first = twin(nn.Linear(2, 2))
    assert twin(first, relayout=True) is first


class Counting(nn.Module):
    """Has a buffer that is set anew at each call."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Tensor
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.count = self.count + 1
        return x * self.count


def test_a_buffer_that_is_set_anew_is_found_and_the_module_keeps_its_own() -> None:
    module = Counting()
    same = twin(module)
    assert [same(torch.ones(())).item() for _ in range(3)] == [1, 2, 3]
    assert module.count == 0


class Loud(nn.Module):
    """Calls in its own way."""

    def forward(self, x: Tensor) -> Tensor:
        return x

    def __call__(self, x: Tensor) -> Tensor:
        return self.forward(x) + 1


HOOKS = ("forward", "forward_pre", "full_backward", "full_backward_pre")


def hooked(register: str) -> nn.Module:
    module = nn.Sequential(nn.Linear(2, 2))
    getattr(module[0], register)(lambda *_: None)
    return module


def with_own_forward() -> nn.Module:
    module = nn.Sequential(nn.ReLU())
    module[0].forward = lambda input: input + 1  # noqa: A006
    return module


def compiled() -> nn.Module:
    module = nn.Sequential(nn.ReLU())
    module[0].compile(backend="eager")
    return module


@pytest.mark.parametrize(
    "make",
    [
        *(partial(hooked, f"register_{kind}_hook") for kind in HOOKS),
        with_own_forward,
        compiled,
        lambda: nn.Sequential(Loud()),
    ],
)
def test_where_a_call_is_more_than_forward_there_is_no_twin(make: Any) -> None:
    module = make()
    assert not is_plain(module)
    assert twin(module) is module


def test_hooks_of_all_modules_count_too() -> None:
    module = nn.Linear(2, 2)
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        assert twin(module) is module
    finally:
        handle.remove()
    assert twin(module) is not module
