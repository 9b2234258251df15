"""The memory of compiled steps, against what torch's profiler sees of real ones."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

import patchword
from patchword.config import ConfigError, UserError
from patchword.models.create import planned_model
from patchword.models.presets import load_config
from patchword.sizing.tracing.foreign import adamw, loss_of
from patchword.training.apply import applied_to_blocks
from patchword.training.rehearsed import RehearsedStep

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # torch's compiler uses what torch deprecates

SMALL: dict[str, Any] = {
    "model.text.vocab_size": 300,
    "model.image.dim": 64,
    "model.text.dim": 64,
    "model.trunk.dim": 64,
}


def replayed(step: Callable[[], object]) -> int:
    """Most bytes beyond those that were there before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        step()
    assert found.profiler is not None
    results: Any = found.profiler.kineto_results
    events = [e for e in results.events() if e.name() == "[memory]"]
    return max(accumulate((e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())), initial=0))


def bytes_of(tensors: list[torch.Tensor]) -> int:
    return sum({t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}.values())


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        ("captioner-tiny", {}),
        ("captioner-prefix-small", {"train.precision": "bf16"}),
        ("captioner-tiny", {"train.accumulate": 2, "train.ema": 0.9, "model.trunk.attention.kind": "linear"}),
    ],
)
def test_of_a_run(preset: str, changes: dict[str, Any]) -> None:
    run = load_config(preset, SMALL | changes | {"train.compile": True})
    found = patchword.size(run, batch=3, compiled=True)
    torch._dynamo.reset()
    model = planned_model(run).build().train()
    with applied_to_blocks(model, run.train):
        step = RehearsedStep(run, model, 3)

        def once() -> None:
            step.gradient()
            step.update()

        once()
        once()
        state = [t for state in step.optimizer.state.values() for t in state.values()]
        there = bytes_of([*model.parameters(), *model.buffers(), *step.kept().values(), *step.inputs(), *state])
        real = replayed(once) + there
    torch._dynamo.reset()
    assert abs(found.peak_bytes - real) <= 1e-3 * real
    assert found.total.flops == patchword.size(run, batch=3).total.flops


def test_of_a_module() -> None:
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(64, 4, 128, 0.0, batch_first=True), 2)
    x = torch.randn(4, 32, 64)
    found = patchword.size(model, inputs=(x,), compiled=True)
    assert model._compiled_call_impl is None
    torch._dynamo.reset()
    fast, optimizer = torch.compile(model.train()), adamw(model)

    def once() -> None:
        loss_of(fast(x)).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    once()
    once()
    state = [t for state in optimizer.state.values() for t in state.values()]
    real = replayed(once) + bytes_of([*model.parameters(), x, *state])
    torch._dynamo.reset()
    assert abs(found.peak_bytes - real) <= 1e-3 * real


def test_what_is_compiled_in_pieces_is_refused() -> None:
    run = load_config("captioner-tiny", SMALL | {"model.image.attention.kind": "sparse"})
    with pytest.raises(UserError, match="compiles it in pieces"):
        patchword.size(run, batch=2, compiled=True)


def test_only_training_is_compiled() -> None:
    with pytest.raises(UserError, match="goes with --mode train"):
        patchword.size("captioner-tiny", "inference", compiled=True)


def test_a_block_is_compiled_or_run_again() -> None:
    with pytest.raises(ConfigError, match="exclude one another"):
        load_config("captioner-tiny", {"train.compile": True, "train.checkpoint_blocks": True})
