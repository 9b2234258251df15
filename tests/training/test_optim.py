from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from toys import toy_model

from patchword.config import (
    ConstantScheduleConfig,
    CosineScheduleConfig,
    LinearScheduleConfig,
    OptimizerConfig,
    ScheduleConfig,
    UserError,
)
from patchword.training import schedule  # noqa: F401 - gives schedule configs their class
from patchword.training.optim import build_optimizer, freeze, load_optimizer_tensors, optimizer_tensors, set_rate


class Zoo(nn.Module):
    """A parameter of every sort."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(7, 4)
        self.places = nn.Embedding(3, 4)
        self.cls = nn.Parameter(torch.randn(4))
        self.queries = nn.Parameter(torch.randn(2, 4))
        self.up = nn.Linear(4, 6)
        self.conv = nn.Conv2d(4, 2, 3)
        self.norm = nn.LayerNorm(6)
        self.gain = nn.Parameter(torch.randn(()))
        self.head = nn.Linear(4, 7)
        self.head.weight = self.words.weight


def groups_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, tuple[float, float]]:
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names[id(p)]: (group["rate"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }


def test_only_weights_of_maps_decay() -> None:
    model = Zoo()
    groups = groups_of(model, build_optimizer(model, OptimizerConfig(weight_decay=0.3)))
    assert set(groups) == {name for name, _ in model.named_parameters()}
    assert {name for name, (_, decay) in groups.items() if decay} == {"up.weight", "conv.weight"}


def test_the_last_rate_that_matches_counts_and_any_name_of_a_tied_weight_matches() -> None:
    model = Zoo()
    config = OptimizerConfig(rates={"*": 0.5, "up.*": 0.25, "*.bias": 0.0, "head.weight": 0.1})
    groups = groups_of(model, build_optimizer(model, config))
    rates = {name: rate for name, (rate, _) in groups.items()}
    assert rates["up.weight"] == 0.25
    assert rates["up.bias"] == rates["norm.bias"] == 0.0
    assert rates["words.weight"] == 0.1
    assert rates["cls"] == 0.5


def test_rates_scale_the_step() -> None:
    torch.manual_seed(0)
    model = Zoo()
    optimizer = build_optimizer(model, OptimizerConfig(rates={"up.weight": 0.1}, weight_decay=0))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    set_rate(optimizer, 0.02)
    optimizer.step()
    steps = {name: (p.detach() - before[name]).abs().max().item() for name, p in model.named_parameters()}
    assert steps["up.weight"] == pytest.approx(0.002, rel=1e-3)  # Adam's first step is the rate itself
    assert steps["words.weight"] == pytest.approx(0.02, rel=1e-3)


def test_equals_plain_adamw() -> None:
    torch.manual_seed(1)
    model, other = Zoo(), Zoo()
    other.load_state_dict(model.state_dict())
    config = OptimizerConfig(betas=(0.8, 0.95), eps=1e-6, weight_decay=0.3)
    optimizer = build_optimizer(model, config)
    maps = [other.up.weight, other.conv.weight]
    rest = [p for p in other.parameters() if all(p is not m for m in maps)]
    plain = torch.optim.AdamW(
        [{"params": maps, "weight_decay": 0.3}, {"params": rest, "weight_decay": 0.0}],
        betas=(0.8, 0.95),
        eps=1e-6,
        foreach=False,
    )
    for _ in range(5):
        for p, q in zip(model.parameters(), other.parameters(), strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        set_rate(optimizer, 0.03)
        for group in plain.param_groups:
            group["lr"] = 0.03
        optimizer.step()
        plain.step()
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)


def test_frozen_parameters_are_left_out() -> None:
    model = Zoo()
    model.gain.requires_grad_(False)
    freeze(model, ("*places*", "head.*", "up.bias"))
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"places.weight", "words.weight", "head.bias", "up.bias", "gain"}
    assert frozen.isdisjoint(groups_of(model, build_optimizer(model, OptimizerConfig())))


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("upp.*", r"did you mean 'up\.\*'"),
        ("up.weigth", "did you mean 'up.weight'"),
        ("zzz", r"there are .*conv\.bias"),
    ],
)
def test_patterns_that_match_nothing_are_refused(pattern: str, said: str) -> None:
    with pytest.raises(UserError, match=f"train.optimizer.rates: '{pattern}'.replace".split("'")[0] + f".*{said}"):
        build_optimizer(Zoo(), OptimizerConfig(rates={pattern: 0.1}))
    with pytest.raises(UserError, match=rf"train.optimizer.freeze: .* matches no parameter; {said}"):
        freeze(Zoo(), ("up.*", pattern))


def test_freezing_everything_is_refused() -> None:
    with pytest.raises(UserError, match="nothing is left to train"):
        freeze(Zoo(), ("*",))


def test_the_state_goes_to_tensors_and_back() -> None:
    torch.manual_seed(2)
    model = toy_model()
    optimizer = build_optimizer(model, OptimizerConfig())
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    model.body[0].bias.grad = None  # never used: has no state
    optimizer.step()
    tensors = optimizer_tensors(model, optimizer)
    assert "exp_avg:body.0.weight" in tensors
    assert not [name for name in tensors if name.endswith("body.0.bias")]
    other = toy_model()
    again = build_optimizer(other, OptimizerConfig())
    load_optimizer_tensors(other, again, tensors)
    back = optimizer_tensors(other, again)
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)


# ------------------------------------------------------------------ schedules


@pytest.mark.parametrize(
    ("config", "halfway", "last"),
    [
        (CosineScheduleConfig(warmup=10, final=0.2), 0.6, 0.2),
        (CosineScheduleConfig(warmup=10), 0.5, 0.0),
        (LinearScheduleConfig(warmup=10, final=0.1), 0.55, 0.1),
        (ConstantScheduleConfig(warmup=10), 1.0, 1.0),
    ],
)
def test_schedules(config: ScheduleConfig, halfway: float, last: float) -> None:
    made = config.build(110)
    factors = [made.factor(step, 0.0) for step in range(1, 111)]
    assert factors[:10] == pytest.approx([n / 10 for n in range(1, 11)])
    assert factors[59] == pytest.approx(halfway)
    assert factors[-1] == pytest.approx(last)
    assert factors[9:] == sorted(factors[9:], reverse=True)


def test_the_cosine_is_one() -> None:
    made = CosineScheduleConfig(warmup=0).build(8)
    assert [made.factor(s, 0) for s in range(1, 9)] == pytest.approx(
        [(1 + math.cos(math.pi * s / 8)) / 2 for s in range(1, 9)]
    )


def test_the_clock_may_be_ahead_of_the_steps() -> None:
    made = LinearScheduleConfig(warmup=0).build(100)
    assert made.factor(10, 0.75) == pytest.approx(0.25)
    assert made.factor(80, 0.75) == pytest.approx(0.2)
    assert made.factor(10, 1.5) == 0


def test_a_warmup_longer_than_the_training_only_rises() -> None:
    made = CosineScheduleConfig(warmup=100).build(20)
    assert [made.factor(s, 0) for s in (1, 10, 20)] == pytest.approx([0.01, 0.1, 0.2])
