"""Rotary positions: what they promise, and their stretching against independent programs."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from patchword.config import (
    ConfigError,
    LinearRotaryScalingConfig,
    Llama3RotaryScalingConfig,
    NTKRotaryScalingConfig,
    RotaryPositionConfig,
    RotaryScalingConfig,
    YarnRotaryScalingConfig,
)
from patchword.nn.positions import Heads, Places, Position
from patchword.sequence import SequenceInfo

AXES = pytest.mark.parametrize("axes", [1, 2])
SETTINGS = pytest.mark.parametrize(
    "settings",
    [
        {},
        {"share": 0.5},
        {"scaling": LinearRotaryScalingConfig(factor=3.0)},
        {"scaling": NTKRotaryScalingConfig(factor=3.0), "share": 0.5},
        {"scaling": YarnRotaryScalingConfig(factor=3.0)},
        {"scaling": Llama3RotaryScalingConfig(factor=3.0)},
    ],
    ids=["plain", "partial", "linear", "ntk, partial", "yarn", "llama3"],
)


def rotary(axes: int, width: int = 16, **settings: Any) -> Position:
    return RotaryPositionConfig(**settings).build(Places(axes=axes), 32, Heads(2, width))


def somewhere(axes: int, count: int, most: int = 500) -> Tensor:
    return torch.randint(-1, most, (1, count) if axes == 1 else (1, count, 2))


def turned(x: Tensor, pos: Tensor, axes: int, **settings: Any) -> Tensor:
    rotation = rotary(axes, x.shape[-1], **settings).rotation(SequenceInfo(pos=pos), x.dtype)
    assert rotation is not None
    return rotation(x)


@AXES
@SETTINGS
def test_rotary_keeps_lengths(axes: int, settings: dict[str, Any]) -> None:
    """Times a factor, with YaRN."""
    x = torch.randn(1, 3, 9, 16, dtype=torch.float64)
    y = turned(x, somewhere(axes, 9), axes, **settings)
    gain = (
        0.1 * torch.tensor(3.0).double().log() + 1
        if isinstance(settings.get("scaling"), YarnRotaryScalingConfig)
        else 1.0
    )
    torch.testing.assert_close(y.norm(dim=-1), x.norm(dim=-1) * gain, atol=1e-12, rtol=1e-12)
    assert not torch.allclose(x, y)


@AXES
@SETTINGS
def test_rotary_scores_depend_on_distance_only(axes: int, settings: dict[str, Any]) -> None:
    q, k = torch.randn(2, 1, 3, 9, 16, dtype=torch.float64)
    here, there = somewhere(axes, 9), somewhere(axes, 9)
    shift = torch.randint(1, 300, (1, 1) if axes == 1 else (1, 1, 2))

    def scores(own: Tensor, other: Tensor) -> Tensor:
        return (turned(q, own, axes, **settings) * turned(k, other, axes, **settings)).sum(-1)

    want = scores(here, there)
    torch.testing.assert_close(scores(here + shift, there + shift), want, atol=1e-10, rtol=1e-10)
    assert not torch.allclose(scores(here + shift, there), want)


def test_each_axis_of_a_picture_turns_half_of_the_pairs() -> None:
    x = torch.randn(1, 1, 1, 16, dtype=torch.float64)
    rows, columns = (turned(x, torch.tensor([[place]]), 2)[0, 0, 0] for place in ((5, 0), (0, 5)))
    untouched = (rows == x[0, 0, 0]), (columns == x[0, 0, 0])
    assert [int(u.sum()) for u in untouched] == [8, 8]
    assert not (untouched[0] & untouched[1]).any()


@AXES
@pytest.mark.parametrize(("share", "width"), [(0.25, 4), (0.5, 8), (0.79, 12), (1.0, 16)])
def test_a_share_of_a_head_is_turned_as_a_narrower_head_and_the_rest_stays(axes: int, share: float, width: int) -> None:
    x, pos = torch.randn(2, 3, 9, 16, dtype=torch.float64), somewhere(axes, 9)
    y = turned(x, pos, axes, share=share)
    assert torch.equal(y[..., width:], x[..., width:])
    assert torch.equal(y[..., :width], turned(x[..., :width], pos, axes))


# ------------------------------------------------------------------ stretched waves


def waves(width: int, **settings: Any) -> tuple[Tensor, float]:
    """How far each wave turns at place 1, and the factor on lengths, read off what is done to vectors."""
    x = torch.zeros(1, 1, width // 2, width, dtype=torch.float64)
    x[0, 0, range(width // 2), range(width // 2)] = 1.0
    one = torch.ones(1, width // 2, dtype=torch.long)
    y = turned(x, one, 1, **settings)[0, 0]
    cos, sin = y.diagonal(), y.diagonal(width // 2)
    return torch.atan2(sin, cos), float(torch.hypot(cos, sin)[0])


def theirs(kind: str, width: int, theta: float, seq_len: int | None = None, **scaling: Any) -> tuple[Tensor, float]:
    """The waves and the factor that transformers makes."""
    parameters = {"rope_type": kind, "rope_theta": theta, **scaling}
    trained = scaling.get("original_max_position_embeddings", 100)
    config = LlamaConfig(
        hidden_size=width, num_attention_heads=1, max_position_embeddings=trained, rope_parameters=parameters
    )
    made, gain = ROPE_INIT_FUNCTIONS[kind](config, torch.device("cpu"), seq_len)
    return made.double(), gain


def settings_at_random(seed: int) -> tuple[int, float, float]:
    rng = random.Random(seed)
    return 2 * rng.randrange(2, 65), rng.choice([50.0, 10_000.0, 5e5]), rng.uniform(1, 40)


def agree(got: tuple[Tensor, float], want: tuple[Tensor, float]) -> None:
    torch.testing.assert_close(got[0], want[0], atol=1e-6, rtol=1e-5)
    assert got[1] == pytest.approx(want[1], rel=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_linear_scaling(seed: int) -> None:
    width, theta, factor = settings_at_random(seed)
    got = waves(width, theta=theta, scaling=LinearRotaryScalingConfig(factor=factor))
    agree(got, theirs("linear", width, theta, factor=factor))


@pytest.mark.parametrize("seed", range(8))
def test_ntk_scaling(seed: int) -> None:
    """Theirs grows with the length; at (factor' L / M - factor' + 1) = factor it is ours."""
    width, theta, factor = settings_at_random(seed)
    times = 4.0
    length = round(100 * (factor + times - 1) / times)
    factor = times * length / 100 - (times - 1)
    got = waves(width, theta=theta, scaling=NTKRotaryScalingConfig(factor=factor))
    agree(got, theirs("dynamic", width, theta, seq_len=length, factor=times))


@pytest.mark.parametrize("seed", range(12))
def test_yarn_scaling(seed: int) -> None:
    width, theta, factor = settings_at_random(seed)
    rng = random.Random(seed)
    trained, slow = rng.randrange(200, 9000), rng.uniform(0.5, 3)
    fast = slow * rng.uniform(2, 30)
    scaling = YarnRotaryScalingConfig(factor=factor, trained_len=trained, beta_fast=fast, beta_slow=slow)
    got = waves(width, theta=theta, scaling=scaling)
    more = {"original_max_position_embeddings": trained, "beta_fast": fast, "beta_slow": slow}
    agree(got, theirs("yarn", width, theta, factor=factor, **more))


def test_yarn_where_all_waves_are_fast_or_all_are_slow() -> None:
    """No wave is between the bounds: none is stretched, or every one is (transformers has these two swapped)."""
    plain, _ = waves(16)
    for trained, stretched in ((10**12, False), (1, True)):
        scaling = YarnRotaryScalingConfig(factor=5.0, trained_len=trained, beta_fast=2.0, beta_slow=1.0)
        got, gain = waves(16, scaling=scaling)
        torch.testing.assert_close(got, plain / 5 if stretched else plain)
        assert gain == pytest.approx(1.1609438)


@pytest.mark.parametrize("seed", range(8))
def test_llama3_scaling(seed: int) -> None:
    width, theta, factor = settings_at_random(seed)
    rng = random.Random(seed)
    trained, slow = rng.randrange(20, 9000), rng.uniform(0.5, 3)
    fast = slow * rng.uniform(2, 30)
    scaling = Llama3RotaryScalingConfig(factor=factor, trained_len=trained, beta_fast=fast, beta_slow=slow)
    more = {"original_max_position_embeddings": trained, "high_freq_factor": fast, "low_freq_factor": slow}
    agree(waves(width, theta=theta, scaling=scaling), theirs("llama3", width, theta, factor=factor, **more))
    with pytest.raises(ConfigError, match="beta_slow"):
        Llama3RotaryScalingConfig(beta_fast=1.0, beta_slow=1.0)


EVERY = [LinearRotaryScalingConfig, NTKRotaryScalingConfig, YarnRotaryScalingConfig, Llama3RotaryScalingConfig]


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("width", [2, 4, 16])
def test_a_factor_of_one_changes_nothing(kind: type[RotaryScalingConfig], width: int) -> None:
    (got, gain), (want, _) = waves(width, scaling=kind(factor=1.0)), waves(width)
    torch.testing.assert_close(got, want)
    assert gain == pytest.approx(1.0)


def test_ntk_keeps_the_fastest_wave_and_stretches_the_slowest_by_the_factor() -> None:
    (got, _), (want, _) = waves(12, scaling=NTKRotaryScalingConfig(factor=7.0)), waves(12)
    assert got[0] == pytest.approx(float(want[0]))
    assert got[-1] == pytest.approx(float(want[-1]) / 7)


def test_rotary_equals_its_fixture(shared: Path) -> None:
    """The correct formula; the published one used half of the width and did not keep lengths."""
    path = shared / "reference" / "fixtures" / "s003_layer_rotary.safetensors"
    if not path.is_file():
        pytest.skip("needs ../shared/reference")
    data = load_file(path)
    got = turned(data["in/x"].transpose(1, 2), torch.arange(9)[None], 1).transpose(1, 2)
    torch.testing.assert_close(got, data["out/out_correct"], atol=1e-5, rtol=0)
