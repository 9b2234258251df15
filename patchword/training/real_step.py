"""The step that sizing rehearses, run for real on this machine: seconds and bytes of each phase."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import ExitStack
from time import perf_counter
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function

from patchword.config import RunConfig
from patchword.data.batch import Batch
from patchword.models.create import planned_model
from patchword.nn.regions import heard
from patchword.sizing.tracing.record import BACKWARD, FORWARD, OPTIMIZER, PHASES
from patchword.tasks.base import LossOutput, Task
from patchword.training.apply import applied_to_blocks
from patchword.training.ready import make_ready
from patchword.training.rehearsed import RehearsedStep

Mark = Callable[[str], None]
"""Told of a phase when it begins; of an empty name when the step ends."""
_MARK = "patchword.phase."


class RealStep:
    """A model with contents, on the CPU, and one step of it; a context, which ends with what was done to its blocks.

    Args:
        run: the run; it is not compiled, as it is not when it is sized.
        mode: `train`, `inference` or `generate`.
        batch: samples.
    """

    def __init__(self, run: RunConfig, mode: str, batch: int) -> None:
        self.run, self.mode, self.batch = run, mode, batch
        self.kind: type[Task] = type(run.task).implementation
        self.look = self.kind.rehearse_generation if mode == "generate" else self.kind.rehearse
        self._mark: Mark = lambda _: None

    def __enter__(self) -> Self:
        self._ends = ExitStack()
        self.model = planned_model(self.run).build()
        if self.mode != "train":
            self.model.eval()
            return self
        make_ready(self.model, self.run.train)
        self._ends.enter_context(applied_to_blocks(self.model.train(), self.run.train.replace(compile=False)))
        self.trainee = RehearsedStep(self.run, self.model, self.batch)
        self.trainee.learner.task = cast(Task, _Marking(self.trainee.learner.task, self._begin))
        return self

    def __exit__(self, *error: object) -> None:
        self._ends.close()

    def _begin(self, phase: str) -> None:
        self._mark(phase)

    def step(self, mark: Mark = lambda _: None) -> None:
        """One step."""
        self._mark = mark
        mark(FORWARD)
        with heard(lambda begins: mark(BACKWARD if begins else FORWARD)):
            self._work()
        mark("")

    def _work(self) -> None:
        if self.mode != "train":
            with torch.no_grad():
                self.kind.rehearse(self.run, self.model, self.kind.full_batch(self.run, self.batch))
        else:
            self.trainee.gradient()
            self._mark(OPTIMIZER)
            self.trainee.update()

    def seconds(self, steps: int, clock: Callable[[], float] = perf_counter) -> list[dict[str, float]]:
        """Seconds of each phase in `steps` steps, after two that warm up."""
        for _ in range(2):
            self.step()
        found = []
        gc.collect()
        for _ in range(steps):
            watch = _Stopwatch(clock)
            self.step(watch)
            found.append(watch.seconds)
        return found

    def peaks(self) -> dict[str, int]:
        """Most bytes of tensors in each phase of a step that is not the first, as torch's profiler saw them."""
        self.step()
        gc.collect()
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
            self.step(_annotate)
        assert found.profiler is not None
        assert found.profiler.kineto_results is not None
        events: Any = found.profiler.kineto_results.events()
        changes = sorted((e.start_ns(), i, e.name(), e.nbytes()) for i, e in enumerate(events) if _concerns(e.name()))
        live, phase, most = self._kept(), "", dict.fromkeys(PHASES, 0)
        for _, _, name, change in changes:
            if name.startswith(_MARK):
                phase = name.removeprefix(_MARK)
            else:
                live += change
            if phase:
                most[phase] = max(most[phase], live)
        return {phase: bytes_ for phase, bytes_ in most.items() if bytes_}

    def _kept(self) -> int:
        """Bytes that are there between steps, each storage once."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        if self.mode == "train":
            tensors += [t for state in self.trainee.optimizer.state.values() for t in state.values()]
            tensors += [*self.trainee.kept().values(), *self.trainee.inputs()]
        return sum({t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}.values())


class _Stopwatch:
    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock, self.seconds = clock, dict[str, float]()
        self._phase, self._since = "", 0.0

    def __call__(self, phase: str) -> None:
        now = self.clock()
        if self._phase:
            self.seconds[self._phase] = self.seconds.get(self._phase, 0.0) + now - self._since
        self._phase, self._since = phase, now


class _Marking:
    """A task that says when the gradient of its loss is being computed."""

    def __init__(self, task: Task, mark: Mark) -> None:
        self.task, self.mark = task, mark

    def loss(self, model: nn.Module, batch: Batch) -> LossOutput:
        found = self.task.loss(model, batch)
        found.total.register_hook(self._backward)
        return found

    def _backward(self, _: Tensor) -> None:
        self.mark(BACKWARD)
        engine: Any = torch.autograd.Variable._execution_engine
        engine.queue_callback(lambda: self.mark(FORWARD))


def _annotate(phase: str) -> None:
    if phase:
        with record_function(_MARK + phase):
            pass


def _concerns(name: str) -> bool:
    return name == "[memory]" or name.startswith(_MARK)
