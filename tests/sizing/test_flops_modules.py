"""torch's common modules, losses and optimisers, forward and backward: nothing of them is in the ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from patchword.sizing.tracing.tally import tally
from patchword.sizing.tracing.trace import Tracer
from tests.sizing.counting import counted

PICTURE, WORDS = torch.randn(2, 8, 16, 16, requires_grad=True), torch.randn(2, 10, 16, requires_grad=True)
ROWS, KINDS = WORDS.flatten(0, 1), torch.randint(0, 16, (20,))
NEAR = WORDS.detach() + 1

OF_PICTURES: list[Callable[[], nn.Module]] = [
    lambda: nn.BatchNorm2d(8),
    lambda: nn.GroupNorm(2, 8),
    lambda: nn.InstanceNorm2d(8),
    lambda: nn.LocalResponseNorm(2),
    lambda: nn.MaxPool2d(2),
    lambda: nn.AvgPool2d(2),
    lambda: nn.AdaptiveAvgPool2d(3),
    lambda: nn.AdaptiveMaxPool2d(3),
    lambda: nn.FractionalMaxPool2d(2, output_size=4),
    lambda: nn.Upsample(scale_factor=2),
    lambda: nn.Upsample(scale_factor=2, mode="bilinear"),
    lambda: nn.Upsample(scale_factor=2, mode="bicubic"),
    lambda: nn.PixelShuffle(2),
    lambda: nn.Unfold(3),
    nn.PReLU,
    nn.Softplus,
    lambda: nn.GLU(1),
    nn.Mish,
    nn.Hardswish,
    nn.SELU,
    nn.RReLU,
    nn.Softshrink,
    nn.LogSigmoid,
    nn.Dropout,
    nn.Dropout2d,
    lambda: nn.ReflectionPad2d(1),
    lambda: nn.ReplicationPad2d(1),
]
OF_WORDS: list[Callable[[], nn.Module]] = [
    lambda: nn.LayerNorm(16),
    lambda: nn.RMSNorm(16),
    lambda: nn.TransformerEncoderLayer(16, 2, 32, batch_first=True),
    lambda: nn.GRU(16, 4, batch_first=True),
    lambda: nn.LSTM(16, 4, batch_first=True),
    lambda: nn.Conv1d(10, 4, 3),
    lambda: nn.utils.parametrizations.weight_norm(nn.Linear(16, 4)),
    lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(16, 4)),
    lambda: nn.utils.parametrizations.orthogonal(nn.Linear(16, 4)),
]
LOSSES: list[tuple[nn.Module, tuple[Any, ...]]] = [
    (nn.CrossEntropyLoss(label_smoothing=0.1), (ROWS, KINDS)),
    (nn.MSELoss(), (WORDS, NEAR)),
    (nn.L1Loss(), (WORDS, NEAR)),
    (nn.HuberLoss(), (WORDS, NEAR)),
    (nn.KLDivLoss(reduction="batchmean"), (WORDS, NEAR.softmax(-1))),
    (nn.BCEWithLogitsLoss(), (WORDS, torch.rand(2, 10, 16))),
    (nn.CosineEmbeddingLoss(), (WORDS[0], NEAR[0], torch.ones(10))),
    (nn.TripletMarginLoss(), (WORDS, NEAR, NEAR * 2)),
    (nn.MultiMarginLoss(), (ROWS, KINDS)),
]
OPTIMISERS: list[type[torch.optim.Optimizer]] = [
    torch.optim.SGD,
    torch.optim.AdamW,
    torch.optim.Adagrad,
    torch.optim.RMSprop,
    torch.optim.NAdam,
    torch.optim.RAdam,
    torch.optim.Adamax,
]


def check(module: nn.Module, *given: Any) -> None:
    def step() -> None:
        out = module(*given)
        (out if isinstance(out, Tensor) else out[0]).sum().backward()

    found = counted(step, module)
    assert found.ledger == {}
    assert found.model or found.vector


@pytest.mark.parametrize("make", OF_PICTURES)
def test_modules_of_pictures(make: Callable[[], nn.Module]) -> None:
    check(make(), PICTURE)


@pytest.mark.parametrize("make", OF_WORDS)
def test_modules_of_sequences(make: Callable[[], nn.Module]) -> None:
    check(make(), WORDS)


def test_a_decoder_layer() -> None:
    check(nn.TransformerDecoderLayer(16, 2, 32, batch_first=True), WORDS, NEAR)


@pytest.mark.parametrize(("loss", "given"), LOSSES, ids=[type(loss).__name__ for loss, _ in LOSSES])
def test_losses(loss: nn.Module, given: tuple[Any, ...]) -> None:
    check(loss, *given)


@pytest.mark.parametrize("kind", OPTIMISERS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("foreach", [False, True])
def test_optimisers_count_for_each_parameter(kind: Any, foreach: bool) -> None:
    sizes = [(5, 5), (7,)]

    def step(times: int) -> int:
        parameters = [nn.Parameter(torch.randn(shape)) for shape in sizes * times]
        for parameter in parameters:
            parameter.grad = torch.randn_like(parameter)
        optimiser = kind(parameters, lr=0.1, foreach=foreach)
        optimiser.step()
        found = counted(optimiser.step)
        assert found.ledger == {}
        return found.vector

    assert step(1) >= 2 * 32 - 32
    assert step(3) - step(2) == step(2) - step(1) > 32 - 1


def test_fused_steps_count_all_parameters() -> None:
    parameters = [nn.Parameter(torch.randn(5, 5)), nn.Parameter(torch.randn(7))]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    found = counted(torch.optim.AdamW(parameters, fused=True).step)
    assert found.vector >= 14 * 32
    assert found.ledger == {}


@pytest.mark.parametrize("reentrant", [False, True])
def test_what_a_checkpoint_computes_again_is_hardware_only(reentrant: bool) -> None:
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16))
    found = counted(lambda: checkpoint(model, WORDS, use_reentrant=reentrant).sum().backward(), model)
    each = 2 * 20 * 16 * 32
    again = 2 if reentrant else 1  # the other kind stops when it has what it needs
    assert (found.forward, found.backward, found.hardware) == (2 * each, 4 * each, (6 + again) * each)


def test_what_is_computed_again_and_what_an_optimiser_multiplies_are_no_work_of_the_model() -> None:
    weight = nn.Parameter(torch.randn(6, 6))
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16))
    tracer = Tracer(model)
    with tracer:
        checkpoint(model, WORDS, use_reentrant=True).sum().backward()
        tracer.optimizing = True
        weight @ weight
    tracer.close()
    found = tally(tracer.record, lambda _: "all").flops
    flops, each, step = found["all"], 2 * 20 * 16 * 32, 2 * 6 * 6 * 6
    assert (flops.forward, flops.backward, flops.again) == (2 * each, 4 * each, 2 * each)
    assert (flops.hardware, found["optimizer"].hardware) == (8 * each, step)
