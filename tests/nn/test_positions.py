"""Positions: what they promise, and what they refuse. Their values are compared in `test_against_plain`."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from patchword.config import (
    ALiBiPositionConfig,
    AttentionConfig,
    ConfigError,
    LearnedPositionConfig,
    PerModalityPositionConfig,
    PositionConfig,
    RelativeBiasPositionConfig,
    RelativeKeyPositionConfig,
    RotaryPositionConfig,
    SinusoidalPositionConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    UserError,
    YarnRotaryScalingConfig,
)
from patchword.nn import Stack
from patchword.nn.positions import Heads, Places, Position
from patchword.sequence import SequenceInfo, Tokens


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", [RotaryPositionConfig, SinusoidalPositionConfig])
def test_half_precision_tells_far_places_apart(kind: type[PositionConfig], dtype: torch.dtype) -> None:
    """Angles are made in float32: neighbours at place 5,000 differ as neighbours at place 0 do."""
    part: Position = kind().build(Places(), 16, Heads(1, 16))
    info = SequenceInfo(pos=torch.tensor([[5000, 5001, 5002]]))

    def values(of: torch.dtype) -> Tensor:
        turn, x = part.rotation(info, of), torch.zeros(1, 3, 16, dtype=of)
        return part.add(x, info) if turn is None else turn((x + 1)[:, None])

    half = values(dtype)
    assert half.dtype == dtype
    torch.testing.assert_close(half.double(), values(torch.float64), atol=8e-3, rtol=0)


@pytest.mark.parametrize(
    ("position", "places", "message"),
    [
        (LearnedPositionConfig(), Places(), r"need a number of places: set position\.max_len"),
        (LearnedPositionConfig(max_len=9), Places((2, 2), 2), r"position\.max_len is for text"),
        (SinusoidalPositionConfig(), Places(axes=2), r"dim 18 is not divisible by 4 \(pairs x axes\)"),
        (LearnedPositionConfig(interpolate=True), Places((9,)), r"position\.interpolate is for pictures"),
        (RotaryPositionConfig(), Places(axes=2), r"head_dim 6 is not divisible by 4 \(pairs x axes\)"),
        (RotaryPositionConfig(share=0.4), Places(axes=2), r"head_dim 6 x share 0.4 = 2 is not divisible by 4"),
        (RotaryPositionConfig(), Places(axes=1), None),
        (RotaryPositionConfig(share=0.4), Places(axes=1), None),
    ],
)
def test_what_does_not_divide_is_refused(position: PositionConfig, places: Places, message: str | None) -> None:
    if message is None:
        position.build(places, 18, Heads(3, 6))
        return
    with pytest.raises(UserError, match=message):
        position.build(places, 18, Heads(3, 6))


@pytest.mark.parametrize(
    ("position", "message"),
    [
        (RotaryPositionConfig(), "rotary turns pairs: head_dim 5 is odd"),
        (RotaryPositionConfig(share=0.7), r"rotary turns pairs: share 0\.7 of head_dim 5 is 3"),
        (RotaryPositionConfig(share=0.1), r"rotary turns pairs: share 0\.1 of head_dim 5 is 0"),
        (PerModalityPositionConfig(of={"image": RotaryPositionConfig()}), "image: rotary turns pairs"),
    ],
)
def test_heads_that_are_not_in_pairs_are_refused_when_the_configuration_is_read(
    position: PositionConfig, message: str
) -> None:
    attention = SoftmaxAttentionConfig(num_heads=4, head_dim=5)
    with pytest.raises(ConfigError, match=r"position\.kind: " + message):
        StackConfig(dim=16, attention=attention, position=position)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: YarnRotaryScalingConfig(beta_fast=2.0, beta_slow=2.0),
            r"beta_slow: 2\.0 should be less than beta_fast",
        ),
        (
            lambda: RotaryPositionConfig(theta=1.0, scaling=YarnRotaryScalingConfig()),
            "theta: 1.0 gives no fast and slow",
        ),
        (
            lambda: RelativeBiasPositionConfig(num_buckets=16, max_distance=8),
            "max_distance: 8 should be more than half",
        ),
        (
            lambda: PerModalityPositionConfig(of={"a": PerModalityPositionConfig(of={})}),
            r"of\.a\.kind: per_modality cannot",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(make: Callable[[], PositionConfig], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


SCORES = [RelativeBiasPositionConfig(), RelativeKeyPositionConfig(), ALiBiPositionConfig()]
EACH = pytest.mark.parametrize("position", SCORES, ids=lambda position: position.kind)


@EACH
def test_mechanisms_without_a_bias_refuse_positions_that_are_one(position: PositionConfig) -> None:
    kinds: dict[str, Any] = {**AttentionConfig.kinds}
    for kind, attention in kinds.items():
        if "bias" not in attention.can:
            with pytest.raises(
                ConfigError, match=rf"position\.kind: {kind} attention cannot do: bias; kinds that can: .*softmax"
            ):
                StackConfig(dim=16, attention=attention(), position=position)


@pytest.mark.parametrize("position", [*SCORES, RotaryPositionConfig()], ids=lambda position: position.kind)
def test_positions_of_scores_are_refused_where_there_are_none(position: PositionConfig) -> None:
    with pytest.raises(ConfigError, match=rf"{position.kind} positions act on attention alone, but attention is null"):
        StackConfig(dim=16, attention=None, position=position)
    with pytest.raises(ConfigError, match=rf"{position.kind} positions act on attention alone, but depth is 0"):
        StackConfig(dim=16, depth=0, position=position)


class Counting(nn.Module):
    """Keeps what layers were given to add to their scores."""

    def __init__(self, mechanism: Any) -> None:
        super().__init__()
        self.inner, self.config, self.seen = mechanism, mechanism.config, []

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Any, bias: Any, cache: Any) -> Tensor:
        self.seen.append(bias(q))
        return self.inner(q, k, v, mask, bias, cache)

    def new_cache(self, *args: Any) -> Any:
        return self.inner.new_cache(*args)


@EACH
@pytest.mark.parametrize("cached", [False, True])
@torch.no_grad()
def test_a_bias_is_made_once_and_for_all_rows(position: PositionConfig, cached: bool) -> None:
    """One row of it while all rows of the batch stand alike; the same tensor in all layers where it may be."""
    stack = Stack(StackConfig(dim=16, depth=3, attention=SoftmaxAttentionConfig(causal=True), position=position))
    counting = []
    for block in stack.blocks:
        layer: Any = block.get_submodule("self_attn.step")
        layer.mechanism = Counting(layer.mechanism)
        counting.append(layer.mechanism)
    x = torch.randn(5, 6, 16)
    padding = torch.ones(5, 6, dtype=torch.bool)
    for valid, rows in ((None, 1), (padding, 5)):
        if cached:
            cache = stack.new_cache(5, 6, x)
            stack(Tokens(x[:, :5], SequenceInfo(valid=None if valid is None else valid[:, :5])), cache=cache)
            stack(Tokens(x[:, 5:], SequenceInfo(valid=None if valid is None else valid[:, 5:])), cache=cache)
        else:
            stack(Tokens(x, SequenceInfo(valid=valid)))
        last = [mechanism.seen[-1] for mechanism in counting]
        if isinstance(position, RelativeKeyPositionConfig):
            rows = 5  # it is made of queries
        else:
            assert all(bias.data_ptr() == last[0].data_ptr() for bias in last)
        assert all(bias.shape == (rows, 4, 1 if cached else 6, 6) for bias in last)


@pytest.mark.parametrize(
    "position", [*SCORES, RotaryPositionConfig(), SinusoidalPositionConfig()], ids=lambda position: position.kind
)
@pytest.mark.parametrize("axes", [1, 2])
@torch.no_grad()
def test_places_far_beyond_training_are_told_apart(position: PositionConfig, axes: int) -> None:
    """What has no table of places, or one of distances that is cut, works at any length."""
    stack = Stack(
        StackConfig(dim=16, depth=1, attention=SoftmaxAttentionConfig(num_heads=2), position=position),
        Places((4, 4)[:axes], axes),
    )
    x = torch.randn(1, 2, 16)
    outs = []
    for gap in (1, 2, 3, 4000):
        pos = torch.tensor([[[1000, 1000], [1000, 1000 + gap]]])
        outs.append(stack(Tokens(x, SequenceInfo(pos=pos if axes == 2 else pos[..., 1]))))
    assert all(out.isfinite().all() for out in outs)
    for near, far in itertools.pairwise(outs):
        assert not torch.allclose(near, far, atol=1e-7)


@EACH
@torch.no_grad()
def test_half_precision_scores(position: PositionConfig) -> None:
    stack = Stack(StackConfig(dim=16, depth=2, attention=SoftmaxAttentionConfig(causal=True), position=position))
    x = torch.randn(2, 40, 16)
    want = stack(Tokens(x))
    got = stack.bfloat16()(Tokens(x.bfloat16()))
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), want, atol=0.1, rtol=0.1)


@pytest.mark.parametrize("position", [ALiBiPositionConfig(), RelativeBiasPositionConfig()], ids=lambda p: p.kind)
@pytest.mark.parametrize("padded", [False, True])
@torch.no_grad()
def test_all_layers_add_one_and_the_same_term(
    position: PositionConfig, padded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mask and the bias together are made once, not once a layer."""
    seen: list[Tensor] = []
    exact = torch.nn.functional.scaled_dot_product_attention

    def counted(*args: Any, attn_mask: Tensor, **kwargs: Any) -> Tensor:
        seen.append(attn_mask)
        return exact(*args, attn_mask=attn_mask, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    stack = Stack(StackConfig(dim=16, depth=3, attention=SoftmaxAttentionConfig(causal=True), position=position))
    valid = torch.tensor([[True] * 5, [False, False, True, True, True]]) if padded else None
    for _ in range(2):  # another pass has another one
        stack(Tokens(torch.randn(2, 5, 16), SequenceInfo(valid=valid)))
    assert len(seen) == 6
    assert len({id(term) for term in seen}) == 2
    assert seen[0].shape == (2 if padded else 1, 4, 5, 5)
