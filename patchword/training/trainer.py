"""Training a model: one call, one folder."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from patchword.config import RunConfig, RunError
from patchword.data.base import Source
from patchword.data.loader import WorkerDiedError
from patchword.tasks.base import Task
from patchword.training.apply import applied_to_blocks
from patchword.training.display import Display, open_display
from patchword.training.learner import NotFiniteError
from patchword.training.out_of_memory import account, ran_out
from patchword.training.run_folder import CONFIG, MODEL, claim_run, resume_command
from patchword.training.session import Session
from patchword.training.signals import StopSignals


class TrainResult(NamedTuple):
    """How a training ended."""

    run: Path
    """Its folder."""
    steps: int
    """Steps done."""
    metrics: dict[str, float]
    """The best evaluation, whose weights are the run's model; empty where nothing was evaluated."""
    stopped: str | None
    """What ended it before all steps were done: `minutes`, `patience`, `SIGINT`, `SIGTERM`; None: nothing did."""


def train(
    run: RunConfig,
    task: Task,
    model: nn.Module,
    source: Source,
    folder: Path,
    resume: bool = False,
    display: Display | None = None,
) -> TrainResult:
    """Train `model` in place and keep everything in `folder`; `patchword.training.run_folder` says what is there.

    Whenever it ends or is killed, `resume` goes on from the newest checkpoint; on a CPU as if nothing had happened, bit
    for bit. The first SIGINT or SIGTERM finishes the step, saves and returns; a second one stops at once.

    Args:
        run: the configuration.
        task: gives examples, loss and metrics.
        model: the task's model, its weights at their start.
        source: the data; splits `train` and, for evaluations, `val`.
        folder: must be new or empty; with `resume`, hold the run.
        resume: go on from the newest whole checkpoint.
        display: what shows it; None: whatever suits standard error.

    Raises:
        UserError: the configuration, the data or the folder is wrong.
        RunError: the loss is not finite, memory ran out, a worker died, or the last checkpoint could not be written.
    """
    display = display if display is not None else open_display()
    with ExitStack() as stack:
        place = stack.enter_context(claim_run(Path(folder), run, resume))
        stop = stack.enter_context(StopSignals(display.answer))
        stack.enter_context(_threads(run.train.threads))
        stack.enter_context(applied_to_blocks(model, run.train))
        session = Session(run, task, model, source, place, stop, display)
        stack.callback(session.close)
        stack.callback(display.stop)
        stack.enter_context(_explained(session))
        reason = session.train()
        session.finish()
        state = session.state
        if stop.asked:  # also when it came after the last step
            reason = stop.asked
            display.say(f"stopped by {reason}, saved at step {state.step}. Resume with: {resume_command(place.path)}")
        else:
            display.say(f"done after {state.step} steps ({reason}); the model is in {place.path / MODEL}")
        metrics = state.best.metrics if state.best is not None else {}
        return TrainResult(place.path, state.step, metrics, None if reason == "steps" else reason)


@contextmanager
def _explained(session: Session) -> Iterator[None]:
    """Failures of a running training become messages that say what is safe."""
    try:
        yield
    except NotFiniteError as error:
        raise RunError(
            f"the loss or its gradient is not finite ({error}). Lower train.optimizer.lr, lengthen "
            f"train.schedule.warmup or set train.clip. {session.safe()}"
        ) from error
    except WorkerDiedError as error:  # between two steps
        session.save_or_warn()
        raise RunError(
            f"a process that prepares batches died: {error}. Where memory ran short, lower data.workers or "
            f"data.batch.size. {session.safe()} Resume with: {resume_command(session.place.path)}"
        ) from error
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        raise RunError(_out_of_memory(session, error)) from error


def _out_of_memory(session: Session, error: BaseException) -> str:
    """No checkpoint is written: the broken step may have drawn random numbers, or moved some of the weights."""
    traceback.clear_frames(error.__traceback__)  # their tensors
    run, place = session.run.replace(model=session.task.model_config()), session.place.path
    reason = (str(error) or "no memory left").splitlines()[0]
    return (
        f"memory ran out at step {session.state.step + 1}: {reason}\n"
        f"{account(run, session.learner, place / CONFIG)}\n"
        f"{session.safe()} Resume with: {resume_command(place)}"
    )


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """That many CPU threads inside; None: as they are."""
    before = torch.get_num_threads()
    try:
        if count is not None:
            torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)
