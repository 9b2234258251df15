"""The folder of a run, and how others read it.

config.yaml       the complete configuration
environment.json  versions, platform and command line of every session
task/             what the task learnt about the data before training (a tokenizer, ...)
metrics.jsonl     see `patchword.training.log`
checkpoints/      see `patchword.training.checkpoint`
model/            the best weights so far, all that is needed to use them:
    config.json        {format: 1, step, metrics, run}; `run` is the complete configuration, its `model` with what
                       the data decided (the size of the vocabulary) filled in
    model.safetensors  weights; one that has several names stands there once
    tokenizer.json ... whatever the task saves
    checksums.json     SHA-256 of the others
"""

from __future__ import annotations

import fcntl
import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from patchword.config import RunConfig, RunError, UserError, read_file, to_yaml
from patchword.tasks.base import Task
from patchword.training.environment import environment
from patchword.training.files import damage, is_leftover, recover, whole_folder, write_text
from patchword.training.log import finite
from patchword.training.resume import check_same
from patchword.training.weights import load_weights, save_weights

__all__ = ["OpenedRun", "RunFolder", "claim_run", "load_weights", "model_facts", "open_run", "prepared_task"]

Metrics = Mapping[str, float]
FORMAT = 1
CONFIG, MODEL, WEIGHTS, TASK, METRICS = "config.yaml", "model", "model.safetensors", "task", "metrics.jsonl"
_FACTS, _CHECKPOINTS, _LOCK = "config.json", "checkpoints", ".lock"


class OpenedRun(NamedTuple):
    """What those who use a run's model need."""

    run: RunConfig
    """Its configuration; `run.model` is complete."""
    folder: Path
    """What `Task.load` reads."""
    weights: Path
    """What `load_weights` reads."""


def open_run(path: Path | str, task: str | None = None) -> OpenedRun:
    """Find and check the model of a run folder (or of a copy of its `model/` alone).

    Args:
        path: the folder.
        task: the kind of task that it has to be of; None: any.

    Raises:
        UserError: it is no run folder, has no model yet, is of another task, or is damaged.
    """
    path = Path(path)
    if not path.is_dir():
        raise UserError(f"{path}: no such run folder")
    model = path if (path / _FACTS).is_file() and (path / WEIGHTS).is_file() else path / MODEL
    if not model.is_dir():
        if not (path / CONFIG).is_file():
            raise UserError(f"{path} is not a run folder: it holds neither {CONFIG} nor {MODEL}/")
        raise UserError(
            f"{path} has no model yet: it is written after the first evaluation, and at the end of training; "
            f"go on with: {resume_command(path)}"
        )
    wrong = damage(model)
    if wrong is not None:
        raise UserError(f"{model}: {wrong}")
    data = read_file(model / _FACTS)
    if data.get("format") != FORMAT:
        raise UserError(f"{model / _FACTS}: format {data.get('format')!r} is not known here (known: {FORMAT})")
    if "run" not in data:
        raise UserError(
            f"{model} holds a model without a task: read it with patchword.create_model, or train with "
            f"a configuration that has one"
        )
    run = RunConfig.from_dict(data["run"], str(model / _FACTS))
    if task is not None and run.task.kind != task:
        raise UserError(f"{path} is a run of task {run.task.kind!r}; this needs one of task {task!r}")
    return OpenedRun(run, model, model / WEIGHTS)


def model_facts(folder: Path) -> tuple[int, dict[str, float]]:
    """Steps that the weights in a model folder were trained for, and their validation metrics (empty: none)."""
    data = read_file(folder / _FACTS)
    return data["step"], data["metrics"]


def resume_command(path: Path) -> str:
    """The command line that continues a run."""
    return shlex.join(["patchword", "train", str(path / CONFIG), "--out", str(path), "--resume"])


def prepared_task(path: Path | str) -> Path | None:
    """What `Task.load` reads to resume the run in `path`; None: it was killed before that was written."""
    folder = Path(path) / TASK
    return folder if folder.is_dir() and damage(folder) is None else None


class RunFolder:
    """A run folder that is being trained in; made by `claim_run`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints, self.metrics = path / _CHECKPOINTS, path / METRICS

    def begin(self, run: RunConfig, task: Task) -> None:
        """Write what a session starts with.

        Raises:
            RunError: the disk is full, or not writable.
        """
        log = self.path / "environment.json"
        try:
            self.checkpoints.mkdir(exist_ok=True)
            write_text(self.path / CONFIG, to_yaml(run))
            if prepared_task(self.path) is None:
                with whole_folder(self.path / TASK) as folder:
                    task.save(folder)
            sessions = json.loads(log.read_text(encoding="utf-8")) if log.is_file() else []
            write_text(log, json.dumps([*sessions, environment()], indent=2) + "\n")
        except OSError as error:
            raise RunError(f"cannot write in the run folder {self.path}: {error}") from error

    def write_model(self, run: RunConfig, task: Task, model: nn.Module, step: int, metrics: Metrics) -> None:
        """Replace `model/`; a reader finds the old one or the new one, whole.

        Raises:
            OSError: the disk is full, or not writable; the old one is then still there.
        """
        data: dict[str, Any] = {"format": FORMAT, "step": step, "metrics": finite(metrics)}
        data["run"] = run.replace(model=task.model_config()).to_dict()
        with whole_folder(self.path / MODEL) as folder:
            save_weights(model, folder / WEIGHTS)
            task.save(folder)
            text = json.dumps(data, indent=2, ensure_ascii=False)
            (folder / _FACTS).write_text(text + "\n", encoding="utf-8")


@contextmanager
def claim_run(path: Path, run: RunConfig, resume: bool) -> Iterator[RunFolder]:
    """A run folder for this process alone, checked and cleared of what a killed process left.

    Raises:
        UserError: it is not empty (without `resume`), not a run or a run with other settings (with it), or in use.
    """
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is a file; name a folder for the run")
    if resume and not (path / CONFIG).is_file():
        raise UserError(f"{path} holds no run to resume (no {CONFIG}); leave out --resume to start one")
    made = not path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the run folder {path}: {error.strerror}") from error
    left = [p for p in path.iterdir() if not is_leftover(p) and p.name != _LOCK]
    if not resume and left:
        again = f" Continue with: {resume_command(path)}" if (path / CONFIG).is_file() else ""
        raise UserError(f"{path} is not empty: name another folder with --out, or resume the run in it.{again}")
    with (path / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"{path} is in use: another process is training in it") from error
        recover(path)
        recover(path / _CHECKPOINTS)
        if resume:
            check_same(RunConfig.from_dict(read_file(path / CONFIG), str(path / CONFIG)), run, path)
        try:
            yield RunFolder(path)
        finally:
            if made and [p.name for p in path.iterdir()] == [_LOCK]:  # refused before anything was written
                (path / _LOCK).unlink()
                path.rmdir()
