"""A window that is short against the length: only its keys are gathered, and the result is that of all keys masked."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from patchword.config import ALiBiPositionConfig, SoftmaxAttentionConfig, StackConfig
from patchword.nn import Stack
from patchword.nn.mechanisms import softmax
from patchword.nn.mechanisms.near import is_short
from patchword.sequence import Mask, SequenceInfo, Tokens

LENGTH, WINDOW = 800, 5


def facts() -> dict[str, SequenceInfo]:
    place = torch.arange(LENGTH)
    both = torch.stack([(place >= 40) & (place < LENGTH - 3), place < LENGTH - 300])
    documents = torch.stack([place // 37, (place > 350).long()])
    prefix = place.clamp_min(50)[None]
    return {
        "trivial": SequenceInfo(),
        "padding on both sides": SequenceInfo(valid=both),
        "holes": SequenceInfo(valid=torch.rand(2, LENGTH) < 0.7),
        "only padding": SequenceInfo(valid=torch.zeros(2, LENGTH, dtype=torch.bool)),
        "documents": SequenceInfo(segment=documents),
        "documents in pieces": SequenceInfo(valid=both, segment=torch.randint(0, 3, (2, LENGTH))),
        "prefix": SequenceInfo(order=prefix),
        "orders without sense": SequenceInfo(valid=both, order=torch.randint(0, LENGTH, (2, LENGTH))),
    }


class Decisions:
    """Whether keys were gathered, call by call."""

    def __init__(self) -> None:
        self.made: list[bool] = []
        self.never = False

    def __call__(self, *args: Any) -> bool:
        self.made.append(not self.never and is_short(*args))
        return self.made[-1]


@pytest.fixture
def short(monkeypatch: Any) -> Decisions:
    decisions = Decisions()
    monkeypatch.setattr(softmax, "is_short", decisions)
    return decisions


@pytest.mark.parametrize("name", list(facts()))
@pytest.mark.parametrize("causal", [False, True])
def test_gathered_keys_are_masked_keys(name: str, causal: bool, short: Decisions) -> None:
    info = facts()[name]
    mechanism = SoftmaxAttentionConfig(num_heads=4, num_kv_heads=2, causal=causal, window=WINDOW).build(8)
    shapes = ((2, 4, LENGTH, 8), (2, 2, LENGTH, 8), (2, 2, LENGTH, 8))
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    real = torch.ones(2, LENGTH, dtype=torch.bool) if info.valid is None else info.valid
    weight = torch.randn(2, 4, LENGTH, 8, dtype=torch.float64) * real[:, None, :, None]

    def run() -> list[Tensor]:
        out = mechanism(*inputs, Mask(info, info, LENGTH, LENGTH))
        return [out.transpose(1, 2)[real], *torch.autograd.grad((out * weight).sum(), inputs)]

    got = run()
    assert short.made == [True]
    short.never = True
    want = run()
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_a_long_prompt_in_a_cache(static: bool, padded: bool, short: Decisions) -> None:
    config = StackConfig(dim=16, depth=1, attention=SoftmaxAttentionConfig(causal=True, window=WINDOW))
    stack = Stack(config).double().eval()
    x = torch.randn(2, LENGTH, 16, dtype=torch.float64)
    valid = torch.ones(2, LENGTH, dtype=torch.bool)
    valid[0, :20], valid[1, 30:40] = False, False
    chunks, out = ((0, 410), (410, 460), (460, LENGTH - 1), (LENGTH - 1, LENGTH)), []
    with torch.no_grad():
        cache = stack.new_cache(2, LENGTH + 20, x, static)
        for start, end in chunks:
            info = SequenceInfo(valid=valid[:, start:end] if padded else None)
            out.append(stack(Tokens(x[:, start:end], info), cache=cache))
        assert short.made == [True, False, True, False]
        short.never = True
        want = stack(Tokens(x, SequenceInfo(valid=valid if padded else None)))
    real = valid if padded else torch.ones_like(valid)
    torch.testing.assert_close(torch.cat(out, 1)[real], want[real], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("padded", [False, True])
def test_a_step_after_many(padded: bool, short: Decisions) -> None:
    length = 1100
    mechanism = SoftmaxAttentionConfig(num_heads=4, num_kv_heads=1, causal=True, window=WINDOW).build(8)
    q, k, v = (torch.randn(2, heads, t, 8, dtype=torch.float64) for heads, t in ((4, 1), (1, length), (1, length)))
    valid = torch.rand(2, length) < 0.5
    valid[:, -1] = True
    info = SequenceInfo(valid=valid if padded else None)
    mask = Mask(SequenceInfo(), info, 1, length, length - 1)
    got = mechanism(q, k, v, mask)
    short.never = True
    torch.testing.assert_close(got, mechanism(q, k, v, mask), atol=1e-10, rtol=1e-10)
    assert short.made == [True, False]


def test_dropout_drops_some_of_the_gathered_weights(short: Decisions) -> None:
    mechanism = SoftmaxAttentionConfig(num_heads=1, causal=True, window=WINDOW, dropout=0.5).build(8).double()
    q, k = torch.zeros(2, 1, 1, LENGTH, 8, dtype=torch.float64)
    mask = Mask(SequenceInfo(), SequenceInfo(), LENGTH, LENGTH)
    ones = torch.ones_like(q)
    out = mechanism(q, k, ones, mask)[0, 0, :, 0]
    kept = out[WINDOW:] * WINDOW / 2  # each of five equal weights is doubled or gone
    torch.testing.assert_close(kept, kept.round(), atol=1e-10, rtol=0)
    assert 0.4 < kept.mean() / WINDOW < 0.6
    torch.testing.assert_close(mechanism.eval()(q, k, ones, mask), ones)
    assert short.made == [True, True]


def test_a_bias_needs_all_keys(short: Decisions) -> None:
    attention = SoftmaxAttentionConfig(causal=True, window=WINDOW)
    stack = Stack(StackConfig(dim=16, depth=1, attention=attention, position=ALiBiPositionConfig()))
    stack(Tokens(torch.randn(2, LENGTH, 16)))
    assert not short.made


@pytest.mark.parametrize(
    ("num_queries", "num_keys", "window", "causal", "want"),
    [
        (8192, 8192, 256, True, True),
        (512, 512, 32, True, True),
        (512, 512, 128, True, False),
        (512, 512, 32, False, True),
        (512, 512, 64, False, False),
        (1, 8192, 256, True, True),
        (1, 1024, 256, True, False),
        (100, 8192, 256, True, False),
        (0, 8192, 256, True, False),
    ],
)
def test_when_a_window_is_short(num_queries: int, num_keys: int, window: int, causal: bool, want: bool) -> None:
    assert is_short(window, causal, torch.zeros(1, 1, num_queries, 8), torch.zeros(1, 1, num_keys, 8)) is want
