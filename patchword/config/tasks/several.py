"""Several tasks in one run."""

from __future__ import annotations

from collections.abc import Iterator

from patchword.config.core import Config
from patchword.config.data import DataConfig
from patchword.config.errors import Problem
from patchword.config.fields import Fields, TaskFields
from patchword.config.model import ModelConfig
from patchword.config.names import name_problems
from patchword.config.numbers import NonNegative
from patchword.config.tasks.base import TaskConfig


class OneOfSeveralConfig(Config):
    """One of several tasks."""

    task: TaskConfig
    """What is learnt from what."""
    weight: NonNegative = 1.0
    """Factor on its mean loss; 0: it is measured, not learnt."""
    data: DataConfig | None = None
    """Where its samples come from and how they are prepared; null: as the run's."""


class SeveralTasksConfig(TaskConfig, kind="several"):
    """Several tasks learnt together by one model (Caruana 1997); each step learns from a batch of each."""

    shorthand = "tasks"

    tasks: dict[str, OneOfSeveralConfig]
    """By name; metrics are `NAME.METRIC`."""

    @property
    def needs_special_tokens(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether one of them does."""
        return any(own.task.needs_special_tokens for own in self.tasks.values() if own.data is None)

    @property
    def fields(self) -> Fields:
        """What each of them reads."""
        return Fields((), parts={name: TaskFields(own.task.fields, own.data) for name, own in self.tasks.items()})

    @property
    def runs_again(self) -> bool:
        """Whether one of them does."""
        return any(own.task.runs_again for own in self.tasks.values())

    def problems(self) -> Iterator[Problem]:
        """No task, names that cannot be folders, tasks within tasks, nothing to learn."""
        if not self.tasks:
            yield Problem("tasks", "is empty: name at least one task")
            return
        yield from name_problems("tasks", self.tasks)
        for name, own in self.tasks.items():
            if "/" in name:
                yield Problem("tasks", f"cannot hold the name {name!r}: each has a folder of its own, so no /")
            if isinstance(own.task, SeveralTasksConfig):
                yield Problem(
                    f"tasks.{name}.task.kind", "several tasks cannot be one of several: name them side by side"
                )
        if not any(own.weight for own in self.tasks.values()):
            yield Problem("tasks", "have no weight above 0: nothing would be learnt")

    def misfits(self, model: ModelConfig, data: DataConfig) -> Iterator[Problem]:
        """What of a run's model and data cannot do one of them."""
        for name, own in self.tasks.items():
            where = f"task.tasks.{name}"
            for problem in own.task.misfits(model, own.data or data):
                path = problem.path
                if path.partition(".")[0] == "task" or (own.data is not None and path.partition(".")[0] == "data"):
                    path = f"{where}.{path}"
                yield Problem(path, problem.message)
            specials = (own.data or data).tokenizer.special_tokens
            if own.data is not None and own.task.needs_special_tokens and not specials:
                yield Problem(f"{where}.data.tokenizer.special_tokens", f"{own.task.kind} cannot do without")
