"""One session of training, from the start or a checkpoint to an end: steps, evaluations, checkpoints."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from patchword.config import RunConfig, RunError, UserError, unknown
from patchword.data.base import Source
from patchword.data.batch import Batch
from patchword.data.loader import Loader
from patchword.data.sampler import BatchSampler
from patchword.models.model import Model
from patchword.tasks.base import Examples, Task
from patchword.training.bad_samples import BadSamples
from patchword.training.checkpoint import Checkpoints, load_state, restore_random_state
from patchword.training.display import Display
from patchword.training.epochs import in_steps
from patchword.training.evaluate import SPLIT, open_evaluator
from patchword.training.learner import Learner
from patchword.training.log import MetricsFile
from patchword.training.meter import Clock, Meter
from patchword.training.precision import pick_device
from patchword.training.reporter import Reporter
from patchword.training.resume import check_data, data_digest
from patchword.training.run_folder import MODEL, RunFolder, resume_command
from patchword.training.schedule import Schedule
from patchword.training.signals import Stopping, StopSignals
from patchword.training.start import start_of_training
from patchword.training.state import Best, TrainState


class Session:
    """Everything that a training holds, and its loop.

    Args:
        run: the configuration.
        task: gives examples, loss and metrics.
        model: its weights are those of the start; a checkpoint, where there is one, replaces them.
        source: the data.
        place: the run's folder.
        stop: says when to stop.
        display: shows it.

    Raises:
        UserError: the configuration or the data is wrong; nothing was written.
    """

    def __init__(
        self,
        run: RunConfig,
        task: Task,
        model: nn.Module,
        source: Source,
        place: RunFolder,
        stop: StopSignals,
        display: Display,
    ) -> None:
        self.run, self.task, self.place = run, task, place
        self.stop, self.display = stop, display
        examples = _training_examples(task, source)
        sampler = BatchSampler(examples.lengths, run.data.batch, run.train.seed)
        self.config = in_steps(run.train, sampler, display.say)
        device = pick_device(self.config.device)
        self.schedule: Schedule = self.config.schedule.build(self.config.steps)
        self.checkpoints = Checkpoints(place.checkpoints, self.config.keep)
        newest = self.checkpoints.newest(display.say)
        if newest is None and isinstance(model, Model):
            start_of_training(model, display.say)
        self.learner = Learner(task, model.to(device).train(), self.config, device)
        self.evaluator = open_evaluator(task, run, source, stop)
        self.state = self._find_state(newest, data_digest(examples.lengths, examples.answers))
        if self.evaluator is not None:
            self.evaluator.check(self.learner)

        place.begin(run, task)
        state = self.state
        self.clock = Clock(state.elapsed)
        self.meter = Meter(self.clock, device, state.meter)
        self.metrics = MetricsFile(place.metrics, state.metrics_size)
        self.report = Reporter(self.config, state, self.clock, self.metrics, display)
        self.bad = BadSamples(run.data.bad_samples, self.report.bad_sample, state.bad)
        self.loader = Loader(examples, sampler, run.data.workers, device, state.position)
        self._saved = (state.step, state.evaluated)

    def _find_state(self, path: Path | None, digest: dict[str, Any]) -> TrainState:
        """Where to begin: at a checkpoint, then loaded, or (None) at the start."""
        torch.manual_seed(self.config.seed)
        if path is None:
            return TrainState(data=digest)
        state = load_state(path)
        check_data(state.data, digest, self.place.path)
        if state.step > self.config.steps:
            raise UserError(f"train.steps is {self.config.steps}; {self.place.path} has already done {state.step}")
        self.learner.load(path)
        self.learner.precision.scaler.load_state_dict(state.scaler)
        restore_random_state(path, self.learner.device)
        self.display.say(f"resuming at step {state.step}, from {path}")
        return state

    # -------------------------------------------------------------- the loop

    def train(self) -> str:
        """Train until something ends it: `steps`, `minutes`, `patience` or a signal, by name."""
        self.display.start(self.state.step, self.config.steps)
        self.clock.start()
        while True:
            if self._due(self.config.eval_every):
                self._evaluate()
            every = self.config.save_every or self.config.eval_every
            if self._due(every) or self.checkpoints.overdue(self.config.save_minutes):
                self.save_or_warn()
            reason = self._ended()
            if reason is not None:
                return reason
            self._step()

    def _due(self, every: int | None) -> bool:
        return every is not None and self.state.step > 0 and self.state.step % every == 0 and not self.stop.asked

    def _ended(self) -> str | None:
        state, config = self.state, self.config
        if self.stop.asked:
            return self.stop.asked
        if state.step >= config.steps:
            return "steps"
        if config.minutes is not None and self.clock.elapsed >= config.minutes * 60:
            return "minutes"
        if config.patience is not None and state.stale >= config.patience:
            return "patience"
        return None

    def _step(self) -> None:
        state, config = self.state, self.config
        start = time.perf_counter()
        batches = self._batches()
        waited = time.perf_counter() - start
        spent = self.clock.elapsed / (config.minutes * 60) if config.minutes is not None else 0.0
        lr = config.optimizer.lr * self.schedule.factor(state.step + 1, spent)
        found = self.learner.step(batches, state.step + 1, lr)
        state.step += 1
        state.position = self.loader.position
        state.bad = self.bad.state()
        state.samples += sum(len(batch.ids) for batch in batches)
        self.meter.add(batches, found.total, found.items, waited)
        if state.step % config.log_every == 0:
            self.learner.check()
            figures = {"samples": state.samples, "lr": lr, "grad_norm": float(found.norm), **self.meter.read()}
            self.report.figures("train", **figures)
            self.meter.reset()
        self.display.advance(state.step)

    def _batches(self) -> list[Batch]:
        """The batches of a step; those of which nothing could be read are passed over."""
        batches: list[Batch] = []
        while len(batches) < self.config.accumulate:
            batch = next(self.loader)
            self.bad.look(batch, epoch_over=self.loader.position.batch == 0)
            if batch.ids:
                batches.append(batch)
        return batches

    # -------------------------------------------------------------- now and then

    def _evaluate(self) -> None:
        """Look at the validation split, once a step; the best weights become the run's model."""
        state = self.state
        if self.evaluator is None or state.evaluated == state.step:
            return
        self.learner.check()
        start = time.perf_counter()
        with self.clock.paused():
            try:
                found = self.evaluator.evaluate(self.learner)
            except Stopping:
                return
            for sample in found.bad:
                self.bad.note(sample)
            metrics = {name: float(value) for name, value in found.metrics.items()}
            better = self.evaluator.better(metrics, state.best.metrics if state.best is not None else None)
            better = better and self._write_model_or_warn(metrics)
        state.evaluated = state.step
        state.best = Best(state.step, metrics) if better else state.best
        state.stale = 0 if better else state.stale + 1
        seconds = time.perf_counter() - start
        self.report.figures("eval", split=SPLIT, count=found.count, metrics=metrics, best=better, seconds=seconds)

    def _write_model(self, metrics: dict[str, float]) -> None:
        with self.learner.judged() as model:
            self.place.write_model(self.run, self.task, model, self.state.step, metrics)

    def _write_model_or_warn(self, metrics: dict[str, float]) -> bool:
        try:
            self._write_model(metrics)
        except OSError as error:
            self.display.say(f"warning: could not write {self.place.path / MODEL}: {error}")
            return False
        return True

    def _save(self) -> None:
        """Write a checkpoint, unless the newest one is of now."""
        state = self.state
        if self._saved == (state.step, state.evaluated):
            return
        self.learner.check()
        with self.clock.paused():
            state.elapsed, state.meter = self.clock.elapsed, self.meter.state()
            state.scaler = self.learner.precision.scaler.state_dict()
            state.metrics_size = self.metrics.sync()
            self.checkpoints.save(self.learner, state)
        self._saved = (state.step, state.evaluated)

    def save_or_warn(self) -> None:
        """Write a checkpoint, or say why not; training can go on without."""
        try:
            self._save()
        except OSError as error:
            self.display.say(f"warning: no checkpoint at step {self.state.step}: {error}. {self.safe()}")

    # -------------------------------------------------------------- the end

    def finish(self) -> None:
        """Evaluate (not after a signal) and save.

        Raises:
            RunError: the disk is full, or not writable.
        """
        if not self.stop.asked:
            self._evaluate()
        try:
            self._save()
            if self.evaluator is None or not (self.place.path / MODEL).is_dir():
                with self.clock.paused():
                    self._write_model({})
        except OSError as error:
            raise RunError(
                f"could not save at the end, step {self.state.step}: {error}. {self.safe()} "
                f"Make room, then resume with: {resume_command(self.place.path)}"
            ) from error

    def safe(self) -> str:
        """What is safe, in a sentence."""
        there = self.checkpoints.all()
        return f"{there[-1]} is safe." if there else "There is no checkpoint yet."

    def close(self) -> None:
        """End the worker processes and close the files."""
        self.loader.close()
        self.metrics.close()


def _training_examples(task: Task, source: Source) -> Examples:
    if "train" not in source.splits:
        raise UserError(f"{source.name}: {unknown('split', 'train', source.splits)}")
    return task.examples(source.splits["train"], train=True)
