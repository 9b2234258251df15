"""Several tasks learnt together by one model: each step takes a batch of each, the loss is the sum of their means.

A batch of several holds those of all: their inputs, targets and names of samples as `TASK/NAME`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from patchword.config import ModelConfig, OneOfSeveralConfig, RunConfig, SeveralTasksConfig, UserError, implements
from patchword.data.base import Source, Split
from patchword.data.batch import BadSample, Batch
from patchword.data.task_sources import TaskSources, TaskSplits
from patchword.data.text import Tokenizer
from patchword.tasks.base import Evaluation, Examples, LossOutput, Prediction, Query, Task
from patchword.tasks.tokenizers import making, new_tokenizer


class SeveralExamples:
    """An example of each task at a time; goes to worker processes.

    There are as many as the largest task has. The others are gone through again within an epoch, and are then seen as
    in an epoch of their own.
    """

    def __init__(self, of: Mapping[str, Examples]) -> None:
        self.of = dict(of)
        for name, own in of.items():
            if not len(own):
                raise UserError(f"task {name!r} has nothing to learn from in its training split")
        self.size = max(map(len, of.values()))
        places = np.arange(self.size)
        self.lengths: np.ndarray = np.stack([own.lengths[places % len(own)] for own in of.values()]).sum(0)
        self.answers: np.ndarray = np.concatenate([part for own in of.values() for part in (own.lengths, own.answers)])

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        """Example `key[1]` of each task as epoch `key[0]` sees it."""
        epoch, index = key
        found = {}
        for name, own in self.of.items():
            rounds = -(-self.size // len(own))
            found[name] = own[epoch * rounds + index // len(own), index % len(own)]
        return found

    def collate(self, examples: Sequence[dict[str, Any]]) -> Batch:
        """A batch of each task, as one."""
        return joined({name: own.collate([each[name] for each in examples]) for name, own in self.of.items()})


@implements(SeveralTasksConfig)
class SeveralTasks(Task):
    """Learns several tasks; knows what each of them knows."""

    def __init__(self, config: SeveralTasksConfig, run: RunConfig, of: Mapping[str, Task]) -> None:
        self.config, self.run, self.of = config, run, dict(of)
        self.learnt = {name: own.weight for name, own in config.tasks.items() if own.weight}

    # -------------------------------------------------------------- what it knows of the data

    @classmethod
    def prepare(cls, run: RunConfig, source: Source) -> Self:
        """With every task prepared; text towers that several read or say have one tokenizer, of all their texts."""
        sources = cast(TaskSources, source).of
        texts: dict[str, list[list[str]]] = {}
        first: dict[str, Tokenizer] = {}

        def noted(run: RunConfig, tower: str, given: Iterable[str]) -> Tokenizer:
            texts.setdefault(tower, []).append(list(given))
            if tower not in first:
                first[tower] = new_tokenizer(run, tower, texts[tower][0])
            return first[tower]

        with making(noted):
            found = cls(cast(SeveralTasksConfig, run.task), run, _each(run, _preparing(sources)))
        shared = {tower: new_tokenizer(run, tower, _in_turn(of)) for tower, of in texts.items() if len(of) > 1}
        if not shared:
            return found

        def common(run: RunConfig, tower: str, given: Iterable[str]) -> Tokenizer:
            return shared[tower] if tower in shared else new_tokenizer(run, tower, given)

        with making(common):
            return cls(cast(SeveralTasksConfig, run.task), run, _each(run, _preparing(sources)))

    @classmethod
    def load(cls, run: RunConfig, folder: Path) -> Self:
        """With what each task keeps in its own folder."""
        of = _each(run, lambda name, kind, own: kind.load(own, folder / name))
        return cls(cast(SeveralTasksConfig, run.task), run, of)

    def save(self, folder: Path) -> None:
        """Write a folder a task."""
        for name, task in self.of.items():
            (folder / name).mkdir()
            task.save(folder / name)

    def model_config(self) -> ModelConfig:
        """The run's model with what each task's data decides filled in."""
        return list(self.of.values())[-1].model_config()  # each was made with what those before it had filled in

    # -------------------------------------------------------------- learning

    def examples(self, split: Split, train: bool) -> SeveralExamples:
        """An example of each task at a time."""
        splits = cast(TaskSplits, split).of
        return SeveralExamples({name: self.of[name].examples(splits[name], train) for name in self.learnt})

    def loss(self, model: nn.Module, batch: Batch) -> LossOutput:
        """The weighted sum of the tasks' means over this batch, times its samples; count is its samples.

        A step over several batches therefore weighs each by its samples. A task without samples has no part.
        """
        count = torch.tensor(len(batch.ids), device=next(model.parameters()).device)
        means = []
        for name, own in parted(batch).items():
            total, items = self.of[name].loss(model, own)
            means.append(self.learnt[name] * total / items.clamp_min(1))
        return LossOutput(torch.stack(means).sum() * count, count)

    @classmethod
    def full_batch(cls, run: RunConfig, size: int) -> Batch:
        """`size` made-up samples of each task."""
        return joined({name: kind.full_batch(own, size) for name, kind, own in _learnt(run)}, made_up=True)

    @classmethod
    def rehearse(cls, run: RunConfig, model: nn.Module, batch: Batch) -> Tensor:
        """As `loss`."""
        parts, tasks = parted(batch), cast(SeveralTasksConfig, run.task).tasks
        means = [tasks[name].weight * kind.rehearse(own, model, parts[name]) for name, kind, own in _learnt(run)]
        return torch.stack(means).sum()

    @classmethod
    def rehearse_generation(cls, run: RunConfig, model: nn.Module, batch: Batch) -> object:
        """What the first task says that says anything token by token."""
        parts, refusals = parted(batch), []
        del batch
        for name, kind, own in _learnt(run):
            try:
                return kind.rehearse_generation(own, model, parts[name])
            except UserError as error:
                refusals.append(str(error))
        raise UserError(refusals[0])

    # -------------------------------------------------------------- evaluation and prediction

    def evaluate(self, model: nn.Module, source: Source, split: str, limit: int | None, device: str) -> Evaluation:
        """Every task's metrics as `TASK.METRIC`, and `loss`, the weighted sum of theirs; of samples the sum."""
        sources = cast(TaskSources, source).of
        found = {name: task.evaluate(model, sources[name], split, limit, device) for name, task in self.of.items()}
        weights = {name: own.weight for name, own in self.config.tasks.items()}
        metrics = {"loss": sum(weights[name] * own.metrics["loss"] for name, own in found.items() if weights[name])}
        metrics |= {f"{name}.{metric}": value for name, own in found.items() for metric, value in own.metrics.items()}
        # the first task's come last: who looks for a record by its id finds what that one said
        said = [p._replace(task=name) for name, own in reversed(found.items()) for p in own.predictions]
        bad = tuple(dict.fromkeys(sample for own in found.values() for sample in own.bad))
        confusion = next((own.confusion for own in found.values() if own.confusion is not None), None)
        return Evaluation(metrics, sum(own.count for own in found.values()), said, bad, confusion)

    def predict(self, model: nn.Module, queries: Sequence[Query], device: str) -> list[Prediction]:
        """For each query, what each task says that can be asked so.

        Raises:
            UserError: none can.
        """
        found, refusals = [], []
        for name, task in self.of.items():
            try:
                found.append([p._replace(task=name) for p in task.predict(model, queries, device)])
            except UserError as error:
                refusals.append(f"{name}: {error}")
        if not found:
            raise UserError("\n".join(refusals))
        return list(chain.from_iterable(zip(*found, strict=True)))

    def attention(self, model: nn.Module, pixels: Tensor, said: str) -> list[tuple[str, np.ndarray]] | None:
        """As the first task."""
        return next(iter(self.of.values())).attention(model, pixels, said)


# ------------------------------------------------------------------ batches of all tasks as one


def joined(parts: Mapping[str, Batch], made_up: bool = False) -> Batch:
    """Batches of several tasks as one; those without a sample have no part, unless they are made up."""
    there = {name: part for name, part in parts.items() if part.ids or made_up}
    inputs = {f"{name}/{key}": value for name, part in there.items() for key, value in part.inputs.items()}
    targets = {f"{name}/{key}": value for name, part in there.items() for key, value in part.targets.items()}
    ids = tuple(f"{name}/{each}" for name, part in there.items() for each in part.ids)
    bad: tuple[BadSample, ...] = tuple(sample for part in parts.values() for sample in part.bad)
    return Batch(inputs, targets, ids, bad)


def parted(batch: Batch) -> dict[str, Batch]:
    """What `joined` put together, by task."""
    names = dict.fromkeys(key.partition("/")[0] for key in batch.inputs)
    return {
        name: Batch(
            {key.partition("/")[2]: v for key, v in batch.inputs.items() if key.partition("/")[0] == name},
            {key.partition("/")[2]: v for key, v in batch.targets.items() if key.partition("/")[0] == name},
            tuple(each.partition("/")[2] for each in batch.ids if each.partition("/")[0] == name),
        )
        for name in names
    }


# ------------------------------------------------------------------ the tasks


def _run_of(run: RunConfig, own: OneOfSeveralConfig, model: ModelConfig) -> RunConfig:
    """The run as one of its tasks sees it."""
    return run.replace(task=own.task, data=own.data or run.data, model=model)


def _each(run: RunConfig, make: Callable[[str, type[Task], RunConfig], Task]) -> dict[str, Task]:
    """Every task, made one after another: each sees the model with what those before it have filled in."""
    model, made = run.model, dict[str, Task]()
    for name, own in cast(SeveralTasksConfig, run.task).tasks.items():
        made[name] = make(name, type(own.task).implementation, _run_of(run, own, model))
        model = made[name].model_config()
    return made


def _preparing(sources: Mapping[str, Source]) -> Callable[[str, type[Task], RunConfig], Task]:
    return lambda name, kind, own: kind.prepare(own, sources[name])


def _learnt(run: RunConfig) -> list[tuple[str, type[Task], RunConfig]]:
    """Name, kind and run of each task that is learnt."""
    tasks = cast(SeveralTasksConfig, run.task).tasks
    return [(n, type(own.task).implementation, _run_of(run, own, run.model)) for n, own in tasks.items() if own.weight]


def _in_turn(of: Sequence[Sequence[str]]) -> Iterable[str]:
    """Texts of several in turn: a limit on their number then leaves each its share."""
    return (text for row in zip_longest(*of) for text in row if text is not None)
