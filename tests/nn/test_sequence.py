"""Facts about sequences, and masks against their definition, for any facts that hypothesis can think of."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from patchword.config import SoftmaxAttentionConfig, StackConfig
from patchword.sequence import Mask, SequenceInfo, Tokens, concat, positions_of, real
from patchword.testing import Case, Subject

CPU = torch.device("cpu")


def rows(values: st.SearchStrategy[int], batch: int, length: int) -> st.SearchStrategy[Tensor]:
    row = st.lists(values, min_size=length, max_size=length)
    return st.lists(row, min_size=batch, max_size=batch).map(
        lambda lists: torch.tensor(lists, dtype=torch.long).view(batch, length)
    )


@st.composite
def facts(draw: st.DrawFn, batch: int, length: int, segments: bool = True) -> SequenceInfo:
    def maybe(values: st.SearchStrategy[int]) -> Tensor | None:
        return draw(st.none() | rows(values, batch, length))

    valid = maybe(st.integers(0, 1))
    segment = maybe(st.integers(0, 2)) if segments else None
    return SequenceInfo(None if valid is None else valid.bool(), None, maybe(st.integers(0, 5)), segment)


@st.composite
def shapes(draw: st.DrawFn) -> tuple[int, int, SequenceInfo]:
    batch, length = draw(st.integers(0, 3)), draw(st.integers(0, 5))
    return batch, length, draw(facts(batch, length))


def by_definition(info: SequenceInfo, batch: int, length: int, causal: bool, window: int | None) -> Tensor:
    see = torch.zeros(batch, 1, length, length, dtype=torch.bool)
    for b in range(batch):
        order = list(range(length)) if info.order is None else info.order[b].tolist()
        for t in range(length):
            for s in range(length):
                seen = info.valid is None or bool(info.valid[b, s])
                seen &= info.segment is None or bool(info.segment[b, t] == info.segment[b, s])
                seen &= not causal or order[s] <= order[t]
                between = range(min(s, t) + 1, max(s, t) + 1)
                apart = sum(info.valid is None or bool(info.valid[b, i]) for i in between)
                seen &= window is None or apart < window
                see[b, 0, t, s] = seen
    return see


@given(shapes(), st.booleans(), st.none() | st.integers(1, 6))
def test_mask_is_its_definition_in_every_form(
    drawn: tuple[int, int, SequenceInfo], causal: bool, window: int | None
) -> None:
    batch, length, info = drawn
    want = by_definition(info, batch, length, causal, window)
    mask = Mask(info, info, length, length)
    dense = mask.dense(causal, window, CPU)
    assert dense.shape in {(batch, 1, length, length), (1, 1, length, length)}
    if info.valid is not None and window is not None:  # what is not real has no place to measure from
        want = torch.where(info.valid[:, None, :, None], want, dense)
    assert torch.equal(dense.expand_as(want), want)

    lowered = mask.lower(causal, window, CPU)
    see = torch.ones(1, 1, length, length, dtype=torch.bool) if lowered.see is None else lowered.see
    see = see.tril() if lowered.causal else see
    blind = ~want.any(-1, keepdim=True)
    assert torch.equal(see.expand_as(want), want | blind)
    assert torch.equal(torch.zeros_like(blind) if lowered.empty is None else lowered.empty.expand_as(blind), blind)

    additive = mask.additive(causal, window, torch.zeros((), dtype=torch.float64))
    assert (additive is None) == (lowered.see is None)
    if additive is not None:
        assert lowered.see is not None
        assert additive.dtype == torch.float64
        assert torch.equal(additive == 0, lowered.see)
        assert torch.equal(additive == -torch.inf, ~lowered.see)


def test_plain_causal_needs_no_matrix() -> None:
    lowered = Mask(SequenceInfo(), SequenceInfo(), 4, 4).lower(True, None, CPU)
    assert lowered.causal
    assert lowered.see is None
    step = Mask(SequenceInfo(), SequenceInfo(), 1, 4, 3).lower(True, None, CPU)
    assert not step.causal
    assert step.see is None
    chunk = Mask(SequenceInfo(), SequenceInfo(), 2, 4, 2).lower(True, None, CPU)
    assert chunk.see is not None
    assert chunk.see[0, 0].tolist() == [[True, True, True, False], [True] * 4]


def test_one_mask_serves_several_policies() -> None:
    mask, like = Mask(SequenceInfo(), SequenceInfo(), 3, 3), torch.zeros(())
    assert mask.additive(False, None, like) is None
    assert mask.additive(True, 2, like) is mask.additive(True, 2, like)
    assert mask.additive(True, 2, like) is not mask.additive(False, 2, like)
    assert mask.additive(True, 2, like.double()).dtype == torch.float64  # pyright: ignore[reportOptionalMemberAccess]


CROSS = StackConfig(
    dim=8,
    depth=1,
    attention=SoftmaxAttentionConfig(num_heads=2, causal=True),
    cross_attention=SoftmaxAttentionConfig(num_heads=2, num_kv_heads=1),
)
WINDOW = CROSS.replace(attention=SoftmaxAttentionConfig(num_heads=2, window=2), cross_attention=None)
SUBJECTS = [Subject(Case(stack, dtype=dtype)) for stack in (CROSS, WINDOW) for dtype in (torch.float32, torch.float64)]


@settings(max_examples=150)
@given(st.data())
def test_no_facts_make_anything_but_finite_numbers(data: st.DataObject) -> None:
    subject = data.draw(st.sampled_from(SUBJECTS))
    batch, length, seen = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 4)), data.draw(st.integers(0, 3))
    info = data.draw(facts(batch, length))
    x = subject.tokens(batch, length).requires_grad_()
    memory = None
    if subject.case.cross is not None:
        about = data.draw(facts(batch, seen))
        memory = Tokens(subject.random(batch, seen, 12), SequenceInfo(valid=about.valid))
    subject.stack.zero_grad()
    out = subject.run(x, info, memory)
    out.square().sum().backward()
    assert out.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    for name, parameter in subject.stack.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@given(shapes())
def test_positions_count_real_tokens(drawn: tuple[int, int, SequenceInfo]) -> None:
    batch, length, info = drawn
    valid = real(Tokens(torch.zeros(batch, length, 1), info))
    pos = positions_of(valid)
    for b in range(batch):
        places = [int(p) for p, v in zip(pos[b], valid[b], strict=True) if v]
        assert places == list(range(len(places)))
    assert (pos >= 0).all()


def test_concat_keeps_every_fact() -> None:
    a = Tokens(torch.randn(2, 3, 4), SequenceInfo(valid=torch.tensor([[True, True, False], [False] * 3])))
    b = Tokens(torch.randn(2, 2, 4), SequenceInfo(order=torch.tensor([[0, 0], [0, 1]])))
    c = Tokens(torch.randn(2, 0, 4))
    x, info = concat([a, c, b])
    assert torch.equal(x, torch.cat([a.x, b.x], 1))
    assert info.valid is not None
    assert info.valid.tolist() == [[True, True, False, True, True], [False] * 3 + [True, True]]
    assert info.order is not None
    assert info.order.tolist() == [[0, 1, 2, 3, 3], [0, 1, 2, 3, 4]]
    places = positions_of(info.valid) if info.pos is None else info.pos
    assert torch.equal(places[info.valid], torch.tensor([0, 1, 2, 3, 0, 1]))


def test_concat_of_trivial_facts_is_trivial() -> None:
    joined = concat([Tokens(torch.randn(2, 3, 4)), Tokens(torch.randn(2, 1, 4))])
    assert joined.x.shape == (2, 4, 4)
    assert joined.info == SequenceInfo()
    one = Tokens(torch.randn(2, 3, 4), SequenceInfo(valid=torch.ones(2, 3, dtype=torch.bool)))
    assert concat([one]) is one
