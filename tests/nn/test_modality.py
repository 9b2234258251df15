"""Tokens of each modality through weights of their own: feed-forwards, projections, and stacks of both."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from patchword.config import (
    GEGLUConfig,
    PerModalityFeedForwardConfig,
    PerModalityProjectionConfig,
    ReLU2Config,
    SharedProjectionConfig,
    SoftmaxAttentionConfig,
    StackConfig,
    StandardFeedForwardConfig,
)
from patchword.nn import Stack
from patchword.sequence import SequenceInfo, Tokens
from patchword.testing import randomise

NAMES = ("image", "text", "sound")
FEED = PerModalityFeedForwardConfig(
    of={"image": StandardFeedForwardConfig(), "text": GEGLUConfig(hidden_dim=5), "sound": ReLU2Config(bias=False)}
)
PARTS: dict[str, Callable[[], nn.Module]] = {
    "ffn": lambda: FEED.build(8),
    "projection": lambda: PerModalityProjectionConfig(names=NAMES).build(8, 6, True),
    "projection without offsets": lambda: PerModalityProjectionConfig(names=NAMES).build(8, 6, False),
}
EACH = pytest.mark.parametrize("make", PARTS.values(), ids=list(PARTS))


def rnd(module: nn.Module) -> nn.Module:
    randomise(module, torch.Generator().manual_seed(4))
    return module.double().eval()


def plain(part: Any, x: Tensor) -> Tensor:
    """One token through one part, from its weights and the formula."""
    if isinstance(part, nn.Linear):
        return x @ part.weight.T + (0 if part.bias is None else part.bias)
    up = plain(part.up_proj, x)
    if hasattr(part, "gate_proj"):
        gate = plain(part.gate_proj, x)
        return plain(part.down_proj, gate * 0.5 * (1 + torch.erf(gate / 2**0.5)) * up)
    if part.down_proj.bias is None:
        return plain(part.down_proj, up.clamp_min(0) ** 2)
    return plain(part.down_proj, up * 0.5 * (1 + torch.erf(up / 2**0.5)))


@EACH
@pytest.mark.parametrize("rows", [1, 3])
def test_each_token_goes_through_its_own_part(make: Callable[[], nn.Module], rows: int) -> None:
    """Facts with one row are for the whole batch."""
    layer, x = rnd(make()), torch.randn(3, 7, 8, dtype=torch.float64)
    modality = torch.randint(0, 3, (rows, 7))
    got, own = layer(x, modality), list(layer.of.values())  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
    for b in range(3):
        for t in range(7):
            want = plain(own[int(modality[b if rows > 1 else 0, t])], x[b, t])
            torch.testing.assert_close(got[b, t], want, atol=1e-10, rtol=1e-10)


@EACH
def test_a_part_learns_from_its_own_tokens_only(make: Callable[[], nn.Module]) -> None:
    """A modality without tokens gives a gradient of zero, not none: ranks without pictures must reduce, too."""
    layer = rnd(make())
    for modality in (torch.tensor([[0, 0, 1], [1, 0, 0]]), torch.zeros(2, 0).long(), torch.zeros(0, 3).long()):
        layer.zero_grad()
        x = torch.randn(*modality.shape, 8, dtype=torch.float64, requires_grad=True)
        out = layer(x, modality)
        assert out.shape[:2] == modality.shape
        out.square().sum().backward()
        present = set(modality.flatten().tolist())
        for index, part in enumerate(layer.of.values()):  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
            for weight in part.parameters():
                assert weight.grad is not None
                assert bool(weight.grad.any()) == (index in present)


@EACH
def test_tokens_of_no_known_modality_are_refused(make: Callable[[], nn.Module]) -> None:
    layer, x = make(), torch.randn(1, 2, 8)
    with pytest.raises(ValueError, match="parts for image, text, sound need a joint sequence"):
        layer(x, None)
    with pytest.raises(ValueError, match=r"parts for 3 modalities \(image, text, sound\), tokens are of others"):
        layer(x, torch.tensor([[0, 3]]))


STACK = StackConfig(
    dim=8,
    depth=2,
    attention=SoftmaxAttentionConfig(
        num_heads=2, causal=True, gate=True, projection=PerModalityProjectionConfig(names=NAMES)
    ),
    ffn=FEED,
)


def facts(batch: int, length: int) -> SequenceInfo:
    return SequenceInfo(modality=torch.randint(0, 3, (batch, length)))


@pytest.mark.parametrize("groups", [None, 1])
def test_equal_parts_are_one_shared_part(groups: int | None) -> None:
    """Every map of a layer: queries, keys, values, output, gate and feed-forward."""
    ffn = StandardFeedForwardConfig()
    attention = SoftmaxAttentionConfig(num_heads=2, num_kv_heads=groups, gate=True)
    one = Stack(StackConfig(dim=8, depth=2, attention=attention, ffn=ffn))
    many = Stack(
        StackConfig(
            dim=8,
            depth=2,
            attention=attention.replace(projection=PerModalityProjectionConfig(names=NAMES)),
            ffn=PerModalityFeedForwardConfig(of=dict.fromkeys(NAMES, ffn)),
        )
    )
    rnd(one), rnd(many)
    weights = {}
    for name in many.state_dict():
        shared, _, rest = name.partition(".of.")
        weights[name] = one.state_dict()[f"{shared}.{rest.partition('.')[2]}" if rest else name]
    many.load_state_dict(weights)
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    want = one(Tokens(x))
    torch.testing.assert_close(many(Tokens(x, facts(2, 5))), want, atol=1e-12, rtol=1e-12)


def test_every_map_of_a_layer_is_the_modality_s_own() -> None:
    """Without text, changing its weights changes nothing; with it, any of its weights does."""
    stack = rnd(Stack(STACK))
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    without, within = SequenceInfo(modality=torch.tensor([[0, 2, 2, 0, 0]])), facts(2, 5)
    before = [stack(Tokens(x, info)) for info in (without, within)]
    names = {name for name, _ in stack.named_parameters() if ".of.text." in name and name.endswith("weight")}
    assert {name.split(".of.")[0].split(".")[-1] for name in names} == {
        *("q_proj", "k_proj", "v_proj", "gate_proj", "out_proj", "step")
    }
    for name in names:
        weight = stack.get_parameter(name)
        with torch.no_grad():
            weight.mul_(1.5)
        assert torch.equal(stack(Tokens(x, without)), before[0])
        assert not torch.allclose(stack(Tokens(x, within)), before[1])
        with torch.no_grad():
            weight.div_(1.5)


@pytest.mark.parametrize("static", [False, True])
@torch.no_grad()
def test_steps_equal_one_pass(static: bool) -> None:
    stack, x, info = rnd(Stack(STACK)), torch.randn(3, 6, 8, dtype=torch.float64), facts(3, 6)
    want = stack(Tokens(x, info))
    cache, got = stack.new_cache(3, 6, x, static), []  # pyright: ignore[reportCallIssue]
    assert info.modality is not None
    for start, end in ((0, 3), (3, 4), (4, 6)):
        part = SequenceInfo(modality=info.modality[:, start:end])
        got.append(stack(Tokens(x[:, start:end], part), cache=cache))
    torch.testing.assert_close(torch.cat(got, 1), want, atol=1e-12, rtol=1e-12)


class Bare(nn.Module):
    def __init__(self, stack: nn.Module) -> None:
        super().__init__()
        self.stack = stack

    def forward(self, x: Tensor, modality: Tensor) -> Tensor:
        return self.stack(Tokens(x, SequenceInfo(modality=modality)))


@torch.no_grad()
def test_an_exported_stack_gives_the_same() -> None:
    """It has fixed shapes: all tokens go through all parts."""
    stack, auto = rnd(Stack(STACK)), torch.export.Dim.AUTO
    example = (torch.randn(2, 5, 8, dtype=torch.float64), torch.randint(0, 3, (2, 5)))
    shapes = ({0: auto, 1: auto}, {0: auto, 1: auto})
    program = torch.export.export(Bare(stack), example, dynamic_shapes=shapes).module()
    for batch, length in ((2, 5), (3, 9)):
        x, info = torch.randn(batch, length, 8, dtype=torch.float64), facts(batch, length)
        want = stack(Tokens(x, info))
        torch.testing.assert_close(program(x, info.modality), want, atol=1e-12, rtol=1e-12)


def test_a_shared_projection_is_one_linear_map() -> None:
    layer = rnd(SharedProjectionConfig().build(8, 6, True))
    x = torch.randn(2, 3, 8, dtype=torch.float64)
    want = x @ layer.get_parameter("weight").T + layer.get_parameter("bias")
    for modality in (None, torch.zeros(2, 3, dtype=torch.long)):
        torch.testing.assert_close(layer(x, modality), want, atol=1e-12, rtol=1e-12)
