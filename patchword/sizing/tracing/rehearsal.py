"""A step of training, or a look without gradients, on tensors without contents: nothing is allocated or computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.optim.optimizer import _foreach_supported_types as _optimizer_kinds
from torch.utils import _foreach_utils

from patchword.config import UserError
from patchword.sizing.tracing.facts import Facts, blank
from patchword.sizing.tracing.record import Record
from patchword.sizing.tracing.trace import Tracer

_KINDS: tuple[list[type], ...] = (_foreach_utils._foreach_supported_types, _optimizer_kinds)  # pyright: ignore

Loss = Callable[[nn.Module], Tensor]
Look = Callable[[nn.Module], object]
MakeOptimizer = Callable[[nn.Module], torch.optim.Optimizer]


class Trainee(Protocol):
    """A model with what changes it."""

    optimizer: torch.optim.Optimizer

    def gradient(self) -> None:
        """The first half of a step: leaves a gradient in the weights."""

    def update(self) -> None:
        """The second half: the weights move, the gradient is gone."""

    def kept(self) -> Mapping[str, Tensor]:
        """What is kept beside weights and optimizer, by the weight's name: a running mean."""
        ...

    def inputs(self) -> Sequence[Tensor]:
        """What the first half read and who calls still holds."""
        ...


class Rehearsal:
    """A model without contents, and the records of what is done with it.

    Args:
        build: makes the model; it runs on the meta device, so no weight is allocated or drawn.
        loss: the model's loss on inputs that it makes itself, a scalar; must not look at any tensor's values.
        signatures: whether to write down what makes each operation distinct for its time.
        look: what is done with the model without gradients; None: the loss is taken.
    """

    mode_kind = FakeTensorMode
    facts_kind = Facts

    def __init__(
        self,
        build: Callable[[], nn.Module],
        loss: Loss,
        signatures: bool = False,
        look: Look | None = None,
    ) -> None:
        self.mode, self.loss, self.signatures, self.look = self.mode_kind(), loss, signatures, look or loss
        self.facts = self.facts_kind(self.mode)
        with torch.device("meta"):
            self.model = build()
        _give_shapes(self.model, self.mode)
        self.given: Sequence[Tensor] = ()
        """What the caller of the model holds for it."""

    @contextmanager
    def _without_looking(self) -> Iterator[None]:
        """Inside, tensors have no contents, and who looks at them all the same is told of.

        Raises:
            UserError: the model chooses what to compute by the values of its input.
        """
        try:
            with self.mode, _many_at_once():
                yield
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            raise UserError(
                f"this model cannot be sized without running it: it looks at numbers that it has computed "
                f"({error.func}) to choose what comes next"
            ) from error

    def training(self, make_optimizer: MakeOptimizer, clip: bool = True) -> Record:
        """A step as a plain loop makes it: the loss, its gradient, clipping, the optimizer."""
        return self.step(lambda model: _Plain(model, self.loss, make_optimizer(model), clip))

    def step(self, make: Callable[[nn.Module], Trainee]) -> Record:
        """A step of training, and not the first: what the optimizer keeps is there from the start, gradients are not.

        What it keeps is made half way, when it is known which weights have a gradient, and entered from the beginning.
        """
        with self._without_looking():
            trainee = make(self.model.train())
            tracer = self._tracer()
            for name, tensor in trainee.kept().items():
                tracer.meet(tensor, "ema", name)
            with tracer:
                trainee.gradient()
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    tracer.name(parameter.grad, "gradients")
            for tensor in trainee.inputs():
                tracer.name(tensor, "inputs")
            with self.facts:
                trainee.optimizer.step()
            paths: dict[Any, str] = {p: name for name, p in self.model.named_parameters()}
            for parameter, state in trainee.optimizer.state.items():
                for tensor in state.values():
                    tracer.meet(tensor, "optimizer", paths[parameter])
            tracer.optimizing = True
            with tracer:
                trainee.update()
            tracer.close()
        return tracer.record

    def inference(self, look: Look | None = None) -> Record:
        """A forward pass without gradients, or what else is done with a model in eval mode."""
        with self._without_looking(), torch.no_grad():
            self.model.eval()
            tracer = self._tracer()
            with tracer:
                out = (look or self.look)(self.model)
            del out  # it is there to the end
            tracer.close()
        return tracer.record

    def _watcher(self) -> Tracer:
        return Tracer(self.model, self.signatures, self.facts)

    def _tracer(self) -> Tracer:
        tracer = self._watcher()
        for name, parameter in self.model.named_parameters():
            tracer.meet(parameter, "parameters", name)
        for name, buffer in self.model.named_buffers():
            tracer.meet(buffer, "buffers", name)
        for tensor in self.given:
            tracer.meet(tensor, "inputs")
        return tracer


class _Plain:
    """A loss, an optimizer, clipping to length 1 or none."""

    def __init__(self, model: nn.Module, loss: Loss, optimizer: torch.optim.Optimizer, clip: bool) -> None:
        self.model, self.loss, self.optimizer, self.clip = model, loss, optimizer, clip

    def gradient(self) -> None:
        """Of the loss, into the weights."""
        self.loss(self.model).backward()

    def update(self) -> None:
        """Move the weights and forget the gradient."""
        if self.clip:
            torch.nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.grad is not None], 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def kept(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def inputs(self) -> tuple[Tensor, ...]:
        """None: the loss makes and drops its own."""
        return ()


@contextmanager
def _many_at_once() -> Iterator[None]:
    """torch goes through tensors that only stand for some one by one, and through real ones in one operation."""
    for kinds in _KINDS:
        kinds.append(FakeTensor)
    try:
        yield
    finally:
        for kinds in _KINDS:
            kinds.remove(FakeTensor)


def _give_shapes(model: nn.Module, mode: FakeTensorMode) -> None:
    """Parameters and buffers on the CPU that have shapes and no contents, but for facts; tied ones stay tied."""
    made: dict[int, Tensor] = {}
    for module in model.modules():
        for kept in (module._parameters, module._buffers):
            for name, tensor in kept.items():
                if tensor is None:
                    continue
                if id(tensor) not in made:
                    new = blank(tensor, mode)
                    is_weight = isinstance(tensor, nn.Parameter)
                    made[id(tensor)] = nn.Parameter(new, tensor.requires_grad) if is_weight else new
                kept[name] = made[id(tensor)]  # pyright: ignore[reportArgumentType]
