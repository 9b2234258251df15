"""Models leave Python: whole passes and static decode steps through torch.export and torch.compile."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter
from toy_models import CAPTIONERS, VOCAB, build, close, image_names, pictures

from patchword.cache import StackCache
from patchword.models.model import DecodeState, Model

AUTO = torch.export.Dim.AUTO
SOME = (
    "captioner-tiny",
    "captioner-prefix-small",
    "joint, sinusoidal",
    "joint, relative keys",
    "prefix, by modality",
)
EACH = pytest.mark.parametrize("name", SOME)


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    with warnings.catch_warnings():  # torch's own compiler uses what torch deprecates
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=FutureWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="torch")
        yield
    torch._dynamo.reset()


def inputs_for(name: str, *sizes: tuple[int, int]) -> dict[str, Any]:
    return {image: pictures(*sizes).pixels for image in image_names(CAPTIONERS[name])}


class Whole(nn.Module):
    """Tensors in, tensors out."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor, ids: Tensor) -> Tensor:
        return self.model({"image": pixels, "text": ids}).heads["text"]


@EACH
@torch.no_grad()
def test_a_whole_pass_is_exported_for_any_batch_and_length(name: str) -> None:
    whole = Whole(build(CAPTIONERS[name]))
    example = (torch.rand(2, 3, 16, 16), torch.randint(0, VOCAB, (2, 6)))
    program = torch.export.export(
        whole, example, dynamic_shapes={"pixels": {0: AUTO}, "ids": {0: AUTO, 1: AUTO}}
    ).module()
    for batch, length in ((2, 6), (3, 9), (5, 2)):
        pixels, ids = torch.rand(batch, 3, 16, 16), torch.randint(0, VOCAB, (batch, length))
        close(program(pixels, ids), whole(pixels, ids))


def decode(model: Model, step: Callable[..., Tensor], inputs: dict[str, Any], ids: Tensor) -> Tensor:
    """The scores after each token but the first, all but two tokens through `step`."""
    state = model.begin(inputs, ids.shape[1], static=True)
    out = [model.step(ids[:, :2], state, "text")]
    out += [step(ids[:, i : i + 1], state, "text") for i in range(2, ids.shape[1])]
    return torch.stack(out, 1)


def check_compiled(name: str, backend: Any) -> None:
    model = build(CAPTIONERS[name])
    inputs, ids = inputs_for(name, (16, 16), (8, 16)), torch.randint(0, VOCAB, (2, 7))
    want = model(inputs | {"text": ids}).heads["text"][:, 1:]
    compiled = torch.compile(model.step, fullgraph=True, backend=backend)
    close(decode(model, compiled, inputs, ids), want)


@EACH
@torch.no_grad()
def test_a_static_step_is_one_graph_for_all_steps(name: str) -> None:
    counter = CompileCounter()
    check_compiled(name, counter)
    assert counter.frame_count == 1, "a step was compiled again"


@pytest.mark.slow
@EACH
@torch.no_grad()
def test_a_static_step_is_compiled(name: str) -> None:
    check_compiled(name, "inductor")


# ------------------------------------------------------------------ an exported step takes its caches as tensors


def places(state: DecodeState) -> list[tuple[Any, str]]:
    """Where a decode state holds tensors: (owner, attribute)."""
    found: list[tuple[Any, str]] = []

    def look(owner: Any) -> None:
        for name, value in vars(owner).items():
            if isinstance(value, Tensor):
                found.append((owner, name))

    for cache in (state.reader, state.trunk):
        assert isinstance(cache, StackCache)
        look(cache)
        for block in cache.blocks:
            for part in (block.own, block.memory):
                if part is not None:
                    look(part)
    return found


class Step(nn.Module):
    """One step as a function of tensors; the state is a template that is filled in and read off."""

    def __init__(self, model: Model, template: DecodeState) -> None:
        super().__init__()
        self.model, self.template, self.places = model, template, places(template)

    def forward(self, ids: Tensor, held: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        for (owner, name), value in zip(self.places, held, strict=True):
            setattr(owner, name, value.clone())
        scores = self.model.step(ids, self.template, "text")
        return scores, [getattr(owner, name) for owner, name in self.places]


@EACH
@torch.no_grad()
def test_a_static_step_is_exported(name: str) -> None:
    model = build(CAPTIONERS[name])
    inputs, ids = inputs_for(name, (16, 16), (8, 16)), torch.randint(0, VOCAB, (2, 7))
    want = model(inputs | {"text": ids}).heads["text"]
    state = model.begin(inputs, 7, static=True)
    close(model.step(ids[:, :2], state, "text"), want[:, 1])
    held = [getattr(owner, name) for owner, name in places(state)]
    program = torch.export.export(Step(model, state), (ids[:, 2:3], held)).module()
    for i in range(2, 7):
        scores, held = program(ids[:, i : i + 1], held)
        close(scores, want[:, i])
