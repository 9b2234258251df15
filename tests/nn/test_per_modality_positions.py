"""Positions of another kind for each modality of a joint sequence, against `plain_stack` and against themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import plain_stack
import pytest
import torch
from torch import Tensor

from patchword.config import (
    ALiBiPositionConfig,
    ConfigError,
    ImageTowerConfig,
    JointFusionConfig,
    LearnedPositionConfig,
    LinearAttentionConfig,
    ModelConfig,
    NoPositionConfig,
    PerModalityPositionConfig,
    PositionConfig,
    RelativeBiasPositionConfig,
    RelativeKeyPositionConfig,
    RotaryPositionConfig,
    SinusoidalPositionConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    TextTowerConfig,
    UserError,
)
from patchword.models.create import create_model
from patchword.nn import Stack
from patchword.nn.positions import Places
from patchword.sequence import ImageInput, SequenceInfo, Tokens, positions_of
from patchword.testing import randomise

TOWERS = {"image": Places((5, 4), 2, special=True), "text": Places((12,)), "sound": Places()}
PAIRS: dict[str, tuple[PositionConfig, PositionConfig]] = {
    "learned, sinusoidal": (LearnedPositionConfig(), SinusoidalPositionConfig()),
    "rotary, rotary": (RotaryPositionConfig(), RotaryPositionConfig(theta=30.0, share=0.5)),
    "none, rotary": (NoPositionConfig(), RotaryPositionConfig()),
    "relative bias, alibi": (RelativeBiasPositionConfig(num_buckets=4, max_distance=3), ALiBiPositionConfig()),
    "alibi, relative keys": (ALiBiPositionConfig(), RelativeKeyPositionConfig(max_distance=2)),
    "relative keys, relative keys": (RelativeKeyPositionConfig(max_distance=3), RelativeKeyPositionConfig()),
    "learned, learned": (LearnedPositionConfig(), LearnedPositionConfig()),
    "fitted, rotary": (LearnedPositionConfig(interpolate=True), RotaryPositionConfig()),
}
EACH = pytest.mark.parametrize("pair", PAIRS.values(), ids=list(PAIRS))
CAUSAL = pytest.mark.parametrize("causal", [False, True], ids=["two-sided", "causal"])


def build(pair: tuple[PositionConfig, PositionConfig], causal: bool = True, depth: int = 2) -> Stack:
    config = PerModalityPositionConfig(of={"sound": NoPositionConfig(), "image": pair[0], "text": pair[1]})
    own = SoftmaxAttentionConfig(num_heads=3, head_dim=4, causal=causal)
    stack = Stack(StackConfig(dim=12, depth=depth, attention=own, position=config), Places(parts=TOWERS))
    randomise(stack, torch.Generator().manual_seed(6))
    return stack.double().eval()


def facts(batch: int, length: int, valid: Tensor | None = None) -> SequenceInfo:
    """Tokens of three towers, mixed; pictures' last row and column are there, so that a fitted table keeps its size."""
    modality = torch.randint(0, 3, (batch, length))
    modality[:, :2] = torch.tensor([0, 1])[: min(2, length)]
    grid = torch.stack([torch.randint(0, 5, (batch, length)), torch.randint(0, 4, (batch, length))], -1)
    grid[torch.rand(batch, length) < 0.2] = -1
    grid[:, :1] = torch.tensor([4, 3])
    return SequenceInfo(valid, modality=modality, grid=grid.masked_fill((modality != 0)[..., None], 0))


def cut(info: SequenceInfo, start: int, end: int) -> SequenceInfo:
    return SequenceInfo(*(None if fact is None else fact[:, start:end] for fact in info))


def close(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, atol=1e-10, rtol=1e-10)


@EACH
@CAUSAL
@pytest.mark.parametrize("padded", [False, True])
@torch.no_grad()
def test_each_modality_stands_in_its_own_way(pair: Any, causal: bool, padded: bool) -> None:
    stack, x = build(pair, causal), torch.randn(2, 8, 12, dtype=torch.float64)
    valid = torch.tensor([[True] * 5 + [False] * 3, [True, True, False, True, False, True, True, True]])
    info = facts(2, 8, valid if padded else None)
    real = valid if padded else torch.ones_like(valid)
    own = plain_stack.Facts(*(None if f is None else f.numpy() for f in info._replace(pos=positions_of(real))))
    want = plain_stack.stack(
        {name: weight.numpy() for name, weight in stack.state_dict().items()},
        stack.config,
        x.numpy(),
        own,
        areas={"image": plain_stack.Area(4, True), "text": plain_stack.Area(), "sound": plain_stack.Area()},
    )
    got = stack(Tokens(x, info))
    np.testing.assert_allclose(got[real].numpy(), want[real.numpy()], atol=1e-10, rtol=1e-10)


@EACH
@pytest.mark.parametrize("static", [False, True], ids=["growing", "static"])
@torch.no_grad()
def test_steps_equal_one_pass(pair: Any, static: bool) -> None:
    """Pictures first, then text token by token; padding anywhere; rows chosen on the way."""
    stack, x = build(pair), torch.randn(4, 9, 12, dtype=torch.float64)
    valid = torch.rand(4, 9) < 0.7
    for real in (None, valid):
        info = facts(4, 9, real)
        assert info.modality is not None
        assert info.grid is not None
        info.modality[:, 6:] = 1
        info.grid[:, 6:] = 0
        want = stack(Tokens(x, info))
        cache, got = stack.new_cache(4, 9, x, static), []
        for start, end in ((0, 6), (6, 7), (7, 9)):
            part = cut(info, start, end)
            part = part if start == 0 else part._replace(grid=None)
            got.append(stack(Tokens(x[:, start:end], part), cache=cache))
        keep = torch.ones_like(valid) if real is None else real
        close(torch.cat(got, 1)[keep], want[keep])
        rows = torch.tensor([2, 2, 0, 3, 1])
        again = stack.new_cache(4, 9, x, static)
        stack(Tokens(x[:, :6], cut(info, 0, 6)), cache=again)
        again.select(rows)
        chosen = SequenceInfo(*(None if fact is None else fact[rows] for fact in cut(info, 6, 9)))
        close(stack(Tokens(x[rows, 6:], chosen), cache=again)[keep[rows, 6:]], want[rows, 6:][keep[rows, 6:]])


@EACH
@torch.no_grad()
def test_places_of_other_modalities_say_nothing(pair: Any) -> None:
    """A text's rows and columns, and a picture's places in the sequence, change nothing."""
    stack, x = build(pair, causal=False), torch.randn(2, 8, 12, dtype=torch.float64)
    info = facts(2, 8)
    assert info.modality is not None
    assert info.grid is not None
    want = stack(Tokens(x, info))
    image, text = info.modality == 0, info.modality == 1
    pos = torch.arange(8).expand(2, -1)
    moved = info._replace(
        pos=torch.where(text, pos, 999), grid=torch.where(image[..., None], info.grid, torch.tensor(77))
    )
    close(stack(Tokens(x, moved)), want)


@EACH
def test_any_modality_may_be_absent(pair: Any) -> None:
    """Finite, and every weight has a gradient; also of no tokens at all."""
    stack = build(pair, causal=False)
    for kept in ([0], [1], [2], [0, 1], []):
        info = facts(2, 9)
        assert info.modality is not None
        for length in (0, 9):
            options = torch.tensor(kept or [0])
            modality = options[torch.randint(0, len(options), (2, length))]
            valid = torch.full((2, length), bool(kept))
            part = cut(info, 0, length)._replace(modality=modality, valid=valid)
            stack.zero_grad()
            out = stack(Tokens(torch.randn(2, length, 12, dtype=torch.float64), part))
            out.square().sum().backward()
            assert out.isfinite().all()
            for name, weight in stack.named_parameters():
                assert weight.grad is not None, name
                assert weight.grad.isfinite().all(), name


def test_sequences_of_one_modality_are_refused() -> None:
    stack = build(PAIRS["rotary, rotary"])
    with pytest.raises(ValueError, match="per_modality positions need a joint sequence"):
        stack(Tokens(torch.randn(1, 3, 12, dtype=torch.float64)))


def test_other_towers_are_refused() -> None:
    config = StackConfig(dim=12, position=PerModalityPositionConfig(of={"image": ALiBiPositionConfig()}))
    with pytest.raises(
        UserError, match=r"position\.of: names image, the towers of this sequence are: image, text, sound"
    ):
        Stack(config, Places(parts=TOWERS))
    with pytest.raises(UserError, match="the towers of this sequence are: there are none"):
        Stack(config, Places())


def test_what_any_part_needs_is_needed() -> None:
    position = PerModalityPositionConfig(of={"image": ALiBiPositionConfig(), "text": RotaryPositionConfig()})
    assert position.needs == {"bias"}
    with pytest.raises(ConfigError, match=r"position\.kind: linear attention cannot do: bias"):
        StackConfig(dim=12, attention=LinearAttentionConfig(), position=position)
    rotary = PerModalityPositionConfig(of={"image": NoPositionConfig(), "text": RotaryPositionConfig()})
    StackConfig(dim=12, attention=LinearAttentionConfig(num_heads=3), position=rotary)


@torch.no_grad()
def test_the_bias_of_a_plain_batch_is_one_row() -> None:
    """Tokens of fusions: which tower they are from is one row for all, unless pictures differ in size."""
    towers = {
        "image": ImageTowerConfig(dim=12, depth=0, image_size=(8, 8), patch_size=(4, 4)),
        "text": TextTowerConfig(dim=12, depth=0, vocab_size=9),
    }
    position = PerModalityPositionConfig(of={"image": RelativeBiasPositionConfig(), "text": ALiBiPositionConfig()})
    own = SoftmaxAttentionConfig(num_heads=3, causal=True)
    trunk = StackConfig(dim=12, depth=1, position=position, attention=own)
    model = create_model(ModelConfig(towers=towers, fusion=JointFusionConfig(), trunk=trunk, heads={}))
    seen: list[Tensor] = []
    stack: Any = model.trunk
    stack.blocks[0].register_forward_hook(lambda block, args, out: seen.append(args[1].bias(torch.zeros(()))))
    pixels, ids = torch.rand(5, 3, 8, 8), torch.randint(0, 9, (5, 6))
    model({"image": pixels, "text": ids})
    model({"image": ImageInput(pixels, torch.tensor([[8, 8], [4, 8], [8, 8], [0, 0], [4, 4]])), "text": ids})
    assert [bias.shape for bias in seen] == [(1, 3, 10, 10), (5, 3, 10, 10)]
    between = seen[0][0, :, :4, 4:], seen[0][0, :, 4:, :4]
    assert not any(part.any() for part in between)
