"""Random features: their directions, and when they are drawn again. What they estimate: `test_performer`."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from patchword.config import PerformerAttentionConfig, StackConfig
from patchword.nn import Stack
from patchword.nn.mechanisms import Mechanism
from patchword.nn.mechanisms.performer import PerformerAttention
from patchword.nn.mechanisms.random_features import draw
from patchword.sequence import Tokens


def made(head_dim: int = 6, **settings: Any) -> PerformerAttention:
    return PerformerAttention(PerformerAttentionConfig(**settings), head_dim).double()


def test_orthogonal_directions() -> None:
    """Orthogonal in blocks of the head's width, also in the last, which is cut; lengths are those of normal vectors."""
    w = draw(20, 8, orthogonal=True, seed=3, number=0)
    assert w.shape == (20, 8)
    for start in (0, 8, 16):
        block = F.normalize(w[start : start + 8], dim=-1)
        torch.testing.assert_close(block @ block.T, torch.eye(len(block), dtype=torch.float64), atol=1e-12, rtol=0)
    far = F.normalize(w[:8], dim=-1) @ F.normalize(w[8:16], dim=-1).T
    assert far.abs().max() > 0.3
    lengths = draw(4000, 8, orthogonal=True, seed=0, number=0).square().sum(-1)
    assert abs(lengths.mean() - 8) < 5 * 4 / 4000**0.5  # chi squared with 8 degrees: variance 16
    assert abs(lengths.var() - 16) < 2
    plain = F.normalize(draw(8, 8, orthogonal=False, seed=3, number=0), dim=-1)
    assert (plain @ plain.T - torch.eye(8)).abs().max() > 0.3


def test_every_direction_is_as_likely() -> None:
    """Each coordinate of a first row has mean 0 over 2,000 draws (5 standard errors): QR's signs are evened out."""
    rows = torch.stack([draw(1, 4, orthogonal=True, seed=seed, number=0)[0] for seed in range(2000)])
    assert (rows.mean(0).abs() < 5 / 2000**0.5).all()


def test_a_draw_follows_from_seed_and_number() -> None:
    state = torch.get_rng_state()
    a = draw(5, 4, orthogonal=True, seed=1, number=2)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(a, draw(5, 4, orthogonal=True, seed=1, number=2))
    for seed, number in ((2, 1), (1, 3), (2, 2)):
        assert (draw(5, 4, orthogonal=True, seed=seed, number=number) - a).abs().max() > 0.1


def test_how_many_features() -> None:
    """E ln E (44.4, 8.0, 0), at least one; even in pairs."""
    for head_dim, feature, want in ((16, "softmax", 44), (16, "hyperbolic", 44), (5, "hyperbolic", 8), (1, "relu", 1)):
        mechanism = made(head_dim, num_heads=1, feature=feature)
        assert mechanism.num_features == want
        _, k = mechanism.features(*(torch.randn(1, 1, 3, head_dim, dtype=torch.float64),) * 2, None, None)
        assert k.shape[-1] == want


def test_features_are_drawn_again_and_resume_exactly() -> None:
    whole, start = made(num_heads=2, redraw_every=3, seed=4), made(num_heads=2, redraw_every=3, seed=4)
    seen = [whole.projection.clone()]
    for _ in range(7):
        whole.after_step()
        seen.append(whole.projection.clone())
    changed = [step for step in range(1, 8) if not torch.equal(seen[step], seen[step - 1])]
    assert changed == [3, 6]
    for _ in range(5):
        start.after_step()
    loaded = made(num_heads=2, redraw_every=3, seed=99)
    loaded.load_state_dict(start.state_dict())
    assert torch.equal(loaded.projection, seen[5])
    loaded = made(num_heads=2, redraw_every=3, seed=4)
    loaded.load_state_dict(start.state_dict())
    for _ in range(2):
        loaded.after_step()
    assert torch.equal(loaded.projection, seen[7])
    for step, number in ((0, 0), (5, 1), (7, 2)):
        torch.testing.assert_close(seen[step], draw(10, 6, orthogonal=True, seed=4, number=number), atol=1e-6, rtol=0)


def test_without_redrawing_nothing_changes() -> None:
    mechanism = made(num_heads=2)
    before = {name: x.clone() for name, x in mechanism.state_dict().items()}
    mechanism.after_step()
    assert all(torch.equal(x, before[name]) for name, x in mechanism.state_dict().items())


def test_recomputed_activations_see_the_same_features() -> None:
    """Checkpointed blocks give equal gradients in the steps around a redraw; layers draw alike."""
    config = PerformerAttentionConfig(num_heads=2, num_features=8, redraw_every=1)
    stack = Stack(StackConfig(dim=8, depth=2, attention=config)).train()
    parts = [m for m in stack.modules() if isinstance(m, Mechanism)]
    x, gradients = torch.randn(2, 5, 8), []
    for _ in range(2):
        for recomputed in (False, True):
            stack.zero_grad()
            out = checkpoint(stack, Tokens(x), use_reentrant=False) if recomputed else stack(Tokens(x))
            assert isinstance(out, Tensor)
            out.square().sum().backward()
            gradients.append([p.grad.clone() for p in stack.parameters() if p.grad is not None])
        for part in parts:
            part.after_step()
    for a, b in ((0, 1), (2, 3)):
        for one, other in zip(gradients[a], gradients[b], strict=True):
            torch.testing.assert_close(one, other)
    assert any(not torch.allclose(a, b) for a, b in zip(gradients[0], gradients[2], strict=True))
    torch.testing.assert_close(parts[0].projection, parts[1].projection, atol=0, rtol=0)
