"""A step of training, or a look without gradients, on tensors without contents: nothing is allocated or computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode

from patchword.config import UserError
from patchword.sizing.record import Record
from patchword.sizing.trace import Tracer

Loss = Callable[[nn.Module], Tensor]
MakeOptimizer = Callable[[nn.Module], torch.optim.Optimizer]


class Rehearsal:
    """A model without contents, and the records of what is done with it.

    Args:
        build: makes the model; it runs on the meta device, so no weight is allocated or drawn.
        loss: the model's loss on inputs that it makes itself, a scalar; must not look at any tensor's values.
        signatures: whether to write down what makes each operation distinct for its time.
    """

    def __init__(self, build: Callable[[], nn.Module], loss: Loss, signatures: bool = False) -> None:
        self.mode, self.loss, self.signatures = FakeTensorMode(), loss, signatures
        with torch.device("meta"):
            self.model = build()
        with self.mode:
            _give_shapes(self.model)

    @contextmanager
    def _without_looking(self) -> Iterator[None]:
        """Inside, tensors have no contents, and who looks at them all the same is told of.

        Raises:
            UserError: the model chooses what to compute by the values of its input.
        """
        try:
            with self.mode:
                yield
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            raise UserError(
                f"this model cannot be sized without running it: it looks at values ({error.func}) to choose what it "
                "computes, as sparse attention and parts for single modalities do with the facts of a batch"
            ) from error

    def training(self, make_optimizer: MakeOptimizer, clip: bool = True) -> Record:
        """The second step: the optimizer's state is there, gradients are not yet."""
        with self._without_looking():
            optimizer = make_optimizer(self.model.train())
            self._step(optimizer, clip, None)
            tracer = self._tracer()
            paths: dict[Any, str] = {p: name for name, p in self.model.named_parameters()}
            for parameter, state in optimizer.state.items():
                for tensor in state.values():
                    tracer.meet(tensor, "optimizer", paths[parameter])
            with tracer:
                self._step(optimizer, clip, tracer)
            tracer.close()
        return tracer.record

    def inference(self) -> Record:
        """One forward pass without gradients."""
        with self._without_looking(), torch.no_grad():
            self.model.eval()
            tracer = self._tracer()
            with tracer:
                self.loss(self.model)
            tracer.close()
        return tracer.record

    def _tracer(self) -> Tracer:
        tracer = Tracer(self.model, self.signatures)
        for name, parameter in self.model.named_parameters():
            tracer.meet(parameter, "parameters", name)
        for name, buffer in self.model.named_buffers():
            tracer.meet(buffer, "buffers", name)
        return tracer

    def _step(self, optimizer: torch.optim.Optimizer, clip: bool, tracer: Tracer | None) -> None:
        self.loss(self.model).backward()
        weights = [p for p in self.model.parameters() if p.grad is not None]
        if tracer is not None:
            tracer.optimizing = True
            for parameter in weights:
                assert parameter.grad is not None
                tracer.name(parameter.grad, "gradients")
        if clip:
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def _give_shapes(model: nn.Module) -> None:
    """Parameters and buffers on the CPU that have shapes and no contents; tied ones stay tied."""
    made: dict[int, Tensor] = {}
    for module in model.modules():
        for kept in (module._parameters, module._buffers):
            for name, tensor in kept.items():
                if tensor is None:
                    continue
                if id(tensor) not in made:
                    made[id(tensor)] = _blank(tensor)
                kept[name] = made[id(tensor)]  # pyright: ignore[reportArgumentType]


def _blank(tensor: Tensor) -> Tensor:
    blank = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
    return nn.Parameter(blank, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else blank
