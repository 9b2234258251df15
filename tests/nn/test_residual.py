"""What surrounds a step: dropout, stochastic depth, layer scale; on in training, off in evaluation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from patchword.config import LayerNormConfig, ResidualConfig, ScaleNormConfig, SoftmaxAttentionConfig, StackConfig
from patchword.config import StandardFeedForwardConfig as FeedForwardConfig
from patchword.nn import Stack
from patchword.nn.residual import Residual
from patchword.sequence import Tokens


class Ones(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.ones_like(x)


def residual(drop_path: float = 0.0, **config: Any) -> Residual:
    return Residual(ResidualConfig(**config), LayerNormConfig(), 8, Ones(), drop_path)


@pytest.mark.parametrize("part", ["dropout", "drop_path"])
def test_what_is_dropped_and_what_is_left(part: str) -> None:
    """A share is zeroed and the rest grows, so that the mean stays; stochastic depth drops whole samples."""
    step = residual(drop_path=0.3) if part == "drop_path" else residual(dropout=0.3)
    x = torch.randn(4000, 2, 8)
    added = step(x) - x
    kept = (added.abs() > 0.5).float()
    torch.testing.assert_close(added, kept / 0.7, atol=1e-5, rtol=0)
    samples = kept.flatten(1).mean(1)
    if part == "drop_path":
        assert set(samples.tolist()) == {0.0, 1.0}
    else:
        assert 0 < samples.min() < samples.max()
    assert kept.mean().item() == pytest.approx(0.7, abs=0.03)
    step.eval()
    torch.testing.assert_close(step(x) - x, torch.ones_like(x))


def test_stochastic_depth_grows_with_the_depth() -> None:
    stack = Stack(StackConfig(dim=8, depth=4, residual=ResidualConfig(drop_path=0.3)))
    rates = [stack.get_submodule(f"blocks.{i}.{step}").drop_path for i in range(4) for step in ("self_attn", "ffn")]
    assert rates == pytest.approx([0.0, 0.0, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3])
    one = Stack(StackConfig(dim=8, depth=1, residual=ResidualConfig(drop_path=0.3)))
    assert one.get_submodule("blocks.0.ffn").drop_path == 0.0


def test_layer_scale_starts_where_it_is_told() -> None:
    step = residual(layer_scale=0.05)
    x = torch.randn(3, 2, 8)
    torch.testing.assert_close(step(x) - x, torch.full_like(x, 0.05))
    assert residual().gain is None


@pytest.mark.parametrize(
    "change",
    [
        {"residual": ResidualConfig(dropout=0.5)},
        {"residual": ResidualConfig(drop_path=0.5)},
        {"ffn": FeedForwardConfig(dropout=0.5)},
        {"attention": SoftmaxAttentionConfig(dropout=0.5)},
    ],
    ids=["residual", "drop_path", "ffn", "attention"],
)
def test_dropout_is_for_training_only(change: dict[str, Any]) -> None:
    stack = Stack(StackConfig(dim=16, depth=2).replace(**change))
    x = Tokens(torch.randn(4, 6, 16))
    assert not torch.equal(stack(x), stack(x))
    stack.eval()
    assert torch.equal(stack(x), stack(x))


def test_post_norm_ends_in_a_norm() -> None:
    x = 5 * torch.randn(3, 2, 8) + 2
    y = residual(placement="post")(x)
    torch.testing.assert_close(y.mean(-1), torch.zeros(3, 2), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var(-1, correction=0), torch.ones(3, 2), atol=1e-3, rtol=0)


def test_scalenorm_starts_as_an_identity_for_unit_variance() -> None:
    x = torch.randn(5, 64)
    x = x / x.square().mean(-1, keepdim=True).sqrt()
    torch.testing.assert_close(ScaleNormConfig().build(64)(x), x)
    assert ScaleNormConfig().build(64)(torch.zeros(2, 64)).eq(0).all()
