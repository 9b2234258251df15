"""Positions: what they promise, and what they refuse. Their values are compared in `test_against_plain`."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from patchword.config import (
    ConfigError,
    ImageTowerConfig,
    LearnedPositionConfig,
    PositionConfig,
    RotaryPositionConfig,
    SinusoidalPositionConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    TextTowerConfig,
    UserError,
)
from patchword.models.tower import Tower
from patchword.nn.positions import Places, Position
from patchword.sequence import TextInput

AXES = pytest.mark.parametrize("axes", [1, 2])


def tower(config: ImageTowerConfig | TextTowerConfig) -> Tower:
    return config.build()


def table(config: ImageTowerConfig | TextTowerConfig) -> int:
    return len(tower(config).stack.position.get_parameter("table.weight"))


def rotary(axes: int, theta: float = 10_000.0) -> Position:
    return RotaryPositionConfig(theta=theta).build(Places(axes=axes), 32, 16)


def somewhere(axes: int, count: int, most: int = 500) -> Tensor:
    return torch.randint(-1, most, (1, count) if axes == 1 else (1, count, 2))


def turned(x: Tensor, pos: Tensor, axes: int) -> Tensor:
    rotation = rotary(axes).rotation(pos, x.dtype)
    assert rotation is not None
    return rotation(x)


@AXES
def test_rotary_keeps_lengths(axes: int) -> None:
    x = torch.randn(1, 3, 9, 16, dtype=torch.float64)
    y = turned(x, somewhere(axes, 9), axes)
    torch.testing.assert_close(y.norm(dim=-1), x.norm(dim=-1), atol=1e-12, rtol=1e-12)
    assert not torch.allclose(x, y)


@AXES
def test_rotary_scores_depend_on_distance_only(axes: int) -> None:
    q, k = torch.randn(2, 1, 3, 9, 16, dtype=torch.float64)
    here, there = somewhere(axes, 9), somewhere(axes, 9)
    shift = torch.randint(1, 300, (1, 1) if axes == 1 else (1, 1, 2))
    scores = (turned(q, here, axes) * turned(k, there, axes)).sum(-1)
    moved = (turned(q, here + shift, axes) * turned(k, there + shift, axes)).sum(-1)
    torch.testing.assert_close(moved, scores, atol=1e-10, rtol=1e-10)
    apart = (turned(q, here + shift, axes) * turned(k, there, axes)).sum(-1)
    assert not torch.allclose(apart, scores)


def test_each_axis_of_a_picture_turns_half_of_the_pairs() -> None:
    x = torch.randn(1, 1, 1, 16, dtype=torch.float64)
    rows, columns = (turned(x, torch.tensor([[place]]), 2)[0, 0, 0] for place in ((5, 0), (0, 5)))
    untouched = (rows == x[0, 0, 0]), (columns == x[0, 0, 0])
    assert [int(u.sum()) for u in untouched] == [8, 8]
    assert not (untouched[0] & untouched[1]).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", [RotaryPositionConfig, SinusoidalPositionConfig])
def test_half_precision_tells_far_places_apart(kind: type[PositionConfig], dtype: torch.dtype) -> None:
    """Angles are made in float32: neighbours at place 5,000 differ as neighbours at place 0 do."""
    part: Position = kind().build(Places(), 16, 16)
    pos = torch.tensor([[5000, 5001, 5002]])

    def values(of: torch.dtype) -> Tensor:
        rotation = part.rotation(pos, of)
        return part.add(torch.zeros(1, 3, 16, dtype=of), pos) if rotation is None else rotation.cos

    half = values(dtype)
    assert half.dtype == dtype
    torch.testing.assert_close(half.double(), values(torch.float64), atol=8e-3, rtol=0)


TEXT = TextTowerConfig(dim=8, depth=0, vocab_size=9, max_len=5, position=LearnedPositionConfig())
IMAGE = ImageTowerConfig(
    dim=8, depth=0, image_size=(24, 8), patch_size=(8, 4), position=LearnedPositionConfig(), cls_token=True
)


def test_learned_places_follow_the_tower() -> None:
    assert table(TEXT) == 5
    assert table(TEXT.replace(position=LearnedPositionConfig(max_len=7))) == 7
    assert table(IMAGE) == 3 * 2 + 1
    assert table(IMAGE.replace(cls_token=False)) == 3 * 2


def test_padding_needs_no_place() -> None:
    valid = torch.tensor([[False] * 4 + [True] * 3, [True, False, True, False, True, True, True]])
    tokens = tower(TEXT)(TextInput(torch.randint(0, 9, (2, 7)), valid))
    assert tokens.x.isfinite().all()


def test_places_outside_the_table_are_refused() -> None:
    with pytest.raises(UserError, match="learned positions were made for 5 places, 6 are needed: shorten the input"):
        tower(TEXT)(torch.zeros(1, 6, dtype=torch.long))
    with pytest.raises(UserError, match="made for 3 x 2 places, 3 x 3 are needed"):
        tower(IMAGE)(torch.rand(1, 3, 24, 12))


@pytest.mark.parametrize(
    ("position", "places", "message"),
    [
        (LearnedPositionConfig(), Places(), r"need a number of places: set position\.max_len"),
        (LearnedPositionConfig(max_len=9), Places((2, 2), 2), r"position\.max_len is for text"),
        (SinusoidalPositionConfig(), Places(axes=2), r"dim 18 is not divisible by 4 \(pairs x axes\)"),
        (RotaryPositionConfig(), Places(axes=2), r"head_dim 6 is not divisible by 4 \(pairs x axes\)"),
        (RotaryPositionConfig(), Places(axes=1), None),
    ],
)
def test_what_does_not_divide_is_refused(position: PositionConfig, places: Places, message: str | None) -> None:
    if message is None:
        position.build(places, 18, 6)
        return
    with pytest.raises(UserError, match=message):
        position.build(places, 18, 6)


def test_odd_heads_are_refused_when_the_configuration_is_read() -> None:
    attention = SoftmaxAttentionConfig(num_heads=4, head_dim=5)
    with pytest.raises(ConfigError, match=r"position\.kind: rotary turns pairs: head_dim 5 is odd"):
        StackConfig(dim=16, attention=attention, position=RotaryPositionConfig())
