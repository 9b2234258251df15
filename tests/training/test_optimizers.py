"""Kinds of optimizers and what they do to whom."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from patchword.config import (
    AnyOptimizerConfig,
    MuonConfig,
    OptimizerConfig,
    SGDConfig,
    StepScheduleConfig,
    TextTowerConfig,
)
from patchword.config.attention import SoftmaxAttentionConfig
from patchword.config.heads import LanguageHeadConfig
from patchword.config.model import ModelConfig
from patchword.models.model import Model
from patchword.training.optim import (
    build_optimizer,
    load_optimizer_tensors,
    optimizer_tensors,
    set_rate,
)
from patchword.training.optimizers import POLAR_EXPRESS, orthogonal
from patchword.training.schedule import Schedule
from patchword.training.weights import load_tensors, save_tensors

INNER = ("q_proj", "k_proj", "v_proj", "out_proj", "up_proj", "down_proj")


def decoder(tied: bool = True) -> Model:
    text = TextTowerConfig(
        dim=8, depth=2, vocab_size=11, max_len=6, attention=SoftmaxAttentionConfig(num_heads=2, causal=True)
    )
    head = LanguageHeadConfig(source="text", tied=tied)
    return ModelConfig(towers={"text": text}, heads={"text": head}).build()


def stepped(model: Model, config: AnyOptimizerConfig, lr: float, steps: int = 1) -> torch.optim.Optimizer:
    optimizer = build_optimizer(model, config)
    for step in range(steps):
        torch.manual_seed(step)
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        set_rate(optimizer, lr)
        optimizer.step()
    return optimizer


def is_inner(name: str) -> bool:
    return name.endswith("weight") and any(part in name for part in INNER)


def test_sgd_follows_the_gradient() -> None:
    model = decoder()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    stepped(model, SGDConfig(lr=3.0, weight_decay=0.1, rates={"*.norm.*": 0.5}), lr=0.25)
    for name, parameter in model.named_parameters():
        decay = 0.1 if is_inner(name) else 0.0
        rate = 0.125 if ".norm." in name else 0.25
        assert parameter.grad is not None
        want = before[name] - rate * (parameter.grad + decay * before[name])
        torch.testing.assert_close(parameter.detach(), want)


@pytest.mark.parametrize(("decays", "some"), [("maps", is_inner), ("matrices", None), ("all", None)])
def test_what_decays(decays: str, some: object) -> None:
    model = decoder()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = build_optimizer(model, OptimizerConfig(lr=1.0, weight_decay=0.5, decays=decays))  # pyright: ignore
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    set_rate(optimizer, 0.5)
    optimizer.step()
    for name, parameter in model.named_parameters():
        matrix = parameter.ndim > 1
        wanted = is_inner(name) if some is is_inner else (matrix if decays == "matrices" else True)
        torch.testing.assert_close(parameter.detach(), before[name] * (0.75 if wanted else 1.0))


def polar(x: Tensor, iterations: int) -> Tensor:
    """As it is published: of the matrix itself, step by step, its coefficients from `POLAR_EXPRESS`."""
    x = x / (x.norm() + 1e-7)
    for first, third, fifth in [*POLAR_EXPRESS, *[(1.875, -1.25, 0.375)] * iterations][:iterations]:
        gram = x @ x.T
        x = first * x + (third * gram + fifth * gram @ gram) @ x
    return x


@pytest.mark.parametrize("shape", [(6, 6), (3, 9), (1, 4)])
@pytest.mark.parametrize("iterations", [1, 3, 5, 8])
def test_polynomials_of_the_matrix(shape: tuple[int, int], iterations: int) -> None:
    x = torch.randn(4, *shape, dtype=torch.float64)
    found = orthogonal(x, iterations)
    for got, own in zip(found, x, strict=True):
        torch.testing.assert_close(got, polar(own, iterations), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(("iterations", "off"), [(3, 0.867), (4, 0.561), (5, 0.125), (6, 0.0013), (8, 1e-6)])
def test_singular_values_of_three_orders_end_near_1(iterations: int, off: float) -> None:
    """Of the whole range that the coefficients are made for; the largest error is theirs, neither more nor less."""
    values = torch.logspace(-3, 0, 4000, dtype=torch.float64)
    first, third, fifth = (torch.tensor(column, dtype=torch.float64) for column in zip(*POLAR_EXPRESS, strict=True))
    for i in range(iterations):
        a, b, c = (first[i], third[i], fifth[i]) if i < len(first) else (1.875, -1.25, 0.375)
        values = a * values + b * values**3 + c * values**5
    assert 0.9 * off < (values - 1).abs().max() < off or iterations == 8
    left, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(7, 5, dtype=torch.float64))
    x = left @ torch.diag(torch.tensor([1.0, 0.5, 0.1, 0.01, 0.003], dtype=torch.float64)) @ right.T
    assert (torch.linalg.svdvals(orthogonal(x, iterations)) - 1).abs().max() < off


def test_nothing_stays_nothing() -> None:
    assert not orthogonal(torch.zeros(2, 3, 5), 5).any()


@pytest.mark.parametrize("tied", [True, False])
def test_muon_moves_matrices_of_blocks_and_adamw_the_rest(tied: bool) -> None:
    config = MuonConfig(lr=1e-2, matrix_lr=0.1, weight_decay=0.1, momentum=0.9)
    model, other = decoder(tied), decoder(tied)
    other.load_state_dict(model.state_dict())
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    stepped(model, config, lr=1e-2)
    stepped(other, OptimizerConfig(lr=1e-2, weight_decay=0.1), lr=1e-2)
    for (name, got), (_, plain) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        if not is_inner(name):
            torch.testing.assert_close(got.detach(), plain.detach())
            continue
        assert got.grad is not None
        gradient = got.grad.double()
        mean = 0.1 * gradient
        step = polar(gradient.lerp(mean, 0.9), 4) if got.shape[0] <= got.shape[1] else None
        step = polar(gradient.lerp(mean, 0.9).T, 4).T if step is None else step
        want = before[name] * (1 - 0.1 * 0.1) - 0.1 * max(1.0, got.shape[0] / got.shape[1]) ** 0.5 * step
        torch.testing.assert_close(got.detach().double(), want, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("config", [OptimizerConfig(), SGDConfig(momentum=0.9), SGDConfig(), MuonConfig()])
def test_state_is_kept_and_goes_on_to_the_bit(config: AnyOptimizerConfig, tmp_path: Path) -> None:
    model, other = decoder(), decoder()
    optimizer = stepped(model, config, lr=1e-2, steps=2)
    other.load_state_dict(model.state_dict())
    again = build_optimizer(other, config)
    save_tensors(optimizer_tensors(model, optimizer), tmp_path / "state.safetensors")
    load_optimizer_tensors(other, again, load_tensors(tmp_path / "state.safetensors"))
    for module, own in ((model, optimizer), (other, again)):
        torch.manual_seed(9)
        for parameter in module.parameters():
            parameter.grad = torch.randn_like(parameter)
        set_rate(own, 1e-2)
        own.step()
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_frozen_matrix_stays() -> None:
    model: nn.Module = decoder()
    frozen = dict(model.named_parameters())["towers.text.stack.blocks.0.ffn.step.up_proj.weight"]
    frozen.requires_grad_(False)
    before = frozen.clone()
    stepped(model, MuonConfig(), lr=1e-2)  # pyright: ignore[reportArgumentType]
    assert torch.equal(frozen, before)


def test_a_schedule_of_steps() -> None:
    schedule: Schedule = StepScheduleConfig(warmup=0, every=3, factor=0.5).build(9)
    assert [schedule.factor(step, 0.0) for step in range(1, 10)] == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]
    warmed = StepScheduleConfig(warmup=2, every=4, factor=0.1).build(8)
    assert [round(warmed.factor(step, 0.0), 3) for step in range(1, 9)] == [0.5, 1, 1, 1, 0.1, 0.1, 0.1, 0.1]
