"""Evaluating while training, without changing it."""

from __future__ import annotations

import math

import torch

from patchword.config import RunConfig, UserError, unknown
from patchword.data.base import Source
from patchword.tasks.base import Evaluation, Task
from patchword.training.learner import Learner
from patchword.training.signals import StopSignals

_RANKS = {f"{way}_{mean}_rank" for way in ("i2t", "t2i") for mean in ("median", "mean")}
_ERRORS = {"calibration_error", "unseen_labels", "pixel_error"}
LOWER_IS_BETTER = frozenset({"loss", "perplexity", "pseudo_perplexity", "bits_per_byte"} | _ERRORS | _RANKS)
"""Metrics that get better by getting smaller; of all others more is better."""
SPLIT = "val"


class Evaluator:
    """Looks at the validation split, in fp32: the figures are those that anyone gets from the saved weights.

    Args:
        task: what is learnt.
        run: how.
        source: the data; has a validation split.
        stop: may interrupt it.
    """

    def __init__(self, task: Task, run: RunConfig, source: Source, stop: StopSignals) -> None:
        self.task, self.run, self.source, self.stop = task, run, source, stop
        self.metric = run.train.best_metric

    def check(self, learner: Learner) -> None:
        """Make sure, on one sample and before hours of training, that there is such a metric.

        Raises:
            UserError: there is not.
        """
        if self.metric == "loss":  # always there
            return
        metrics = self._evaluate(learner, 1).metrics
        if self.metric not in metrics:
            raise UserError(f"train.best_metric: {unknown('metric', self.metric, metrics)}")

    def evaluate(self, learner: Learner) -> Evaluation:
        """Metrics of the weights as they are kept.

        Raises:
            Stopping: a signal came.
        """
        return self._evaluate(learner, self.run.train.eval_samples)

    def _evaluate(self, learner: Learner, limit: int | None) -> Evaluation:
        devices = [] if learner.device == "cpu" else [torch.device(learner.device)]
        with torch.random.fork_rng(devices), torch.no_grad(), learner.judged() as model, self.stop.interruptible():
            torch.manual_seed(self.run.train.seed)  # the figures depend on nothing but the weights
            return self.task.evaluate(model, self.source, SPLIT, limit, learner.device)

    def better(self, new: dict[str, float], old: dict[str, float] | None) -> bool:
        """Whether these metrics beat the others (None: there are none)."""
        value = new[self.metric]
        if math.isnan(value):
            return False
        if old is None:
            return True
        lower = self.metric.rpartition(".")[2] in LOWER_IS_BETTER  # of several tasks: TASK.METRIC
        return value < old[self.metric] if lower else value > old[self.metric]


def open_evaluator(task: Task, run: RunConfig, source: Source, stop: StopSignals) -> Evaluator | None:
    """An evaluator; None: there is no validation split, and nothing asks for one.

    Raises:
        UserError: the configuration asks for evaluations, and there is no validation split.
    """
    if SPLIT in source.splits and len(source.splits[SPLIT]):
        return Evaluator(task, run, source, stop)
    for name in ("eval_every", "patience"):
        if getattr(run.train, name) is not None:
            splits = ", ".join(source.splits) or "none"
            raise UserError(
                f"train.{name}: {source.name} has no validation split (splits: {splits}); set data.splits.val"
            )
    return None
