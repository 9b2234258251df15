"""Choices for a whole run: the task, how it is trained, and all of it together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from annotated_types import Gt, Lt

from patchword.config.core import Config
from patchword.config.data import DataConfig
from patchword.config.errors import Problem
from patchword.config.lora import LoraConfig
from patchword.config.model import ModelConfig
from patchword.config.numbers import Count, Positive, PositiveFloat
from patchword.config.optimizer import (
    AnyOptimizerConfig,
    CosineScheduleConfig,
    OptimizerConfig,
    ScheduleConfig,
)
from patchword.config.tasks import TaskConfig

# ------------------------------------------------------------------ training


class TrainConfig(Config):
    """How a model is trained."""

    steps: Positive = 1000
    """Optimizer steps."""
    epochs: Positive | None = None
    """Passes over the training split; how many steps those are follows from the data. Null: `steps` says."""
    minutes: PositiveFloat | None = None
    """Most minutes of training; the schedule then follows the clock where that ends it sooner. Null: no limit."""
    accumulate: Positive = 1
    """Batches a step; gradients are those of one large batch."""
    optimizer: AnyOptimizerConfig = OptimizerConfig()
    """What turns gradients into steps."""
    lora: LoraConfig | None = None
    """Low-rank adapters that learn in place of the weights; null: none."""
    schedule: ScheduleConfig = CosineScheduleConfig()
    """How the learning rate changes."""
    clip: PositiveFloat | None = 1.0
    """Longest gradient, in norm; null: any."""
    ema: Annotated[float, Gt(0), Lt(1)] | None = None
    """Decay of a running mean of the weights, which is then evaluated and kept; null: none."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Numbers of the forward and backward pass (weights stay fp32)."""
    compile: bool = False
    """Whether each block is compiled."""
    checkpoint_blocks: bool = False
    """Whether blocks are run again in the backward pass rather than their activations kept."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    threads: Positive | None = None
    """CPU threads; null: as torch chooses."""
    seed: Count = 0
    """Seed of weights, dropout, order and augmentation."""
    log_every: Positive = 20
    """Steps between two lines of metrics."""
    eval_every: Positive | None = None
    """Steps between two evaluations; null: only at the end."""
    eval_samples: Positive | None = None
    """Pictures of the validation split that those look at; null: all."""
    save_every: Positive | None = None
    """Steps between two checkpoints; null: with every evaluation, and at the end."""
    save_minutes: PositiveFloat | None = 5.0
    """Most minutes that a kill can cost: a checkpoint follows when the last one is that old; null: by steps only."""
    keep: Positive = 2
    """How many of the latest checkpoints are kept."""
    best_metric: str = "loss"
    """The validation metric that says which weights are best."""
    patience: Positive | None = None
    """Evaluations without a better value after which training stops; null: never."""

    def problems(self) -> Iterator[Problem]:
        """Devices that do not exist anywhere, and blocks that would not be compiled."""
        if self.compile and self.checkpoint_blocks:
            yield Problem(
                "checkpoint_blocks", "and compile exclude one another: a block that is run again is never compiled"
            )
        if not re.fullmatch(r"auto|cpu|cuda(:[0-9]+)?", self.device):
            yield Problem("device", f"should be auto, cpu, cuda or cuda:N, got {self.device!r}")


# ------------------------------------------------------------------ all of it


class RunConfig(Config):
    """Everything that a run is made from."""

    name: str = "run"
    """What to call it."""
    task: TaskConfig
    """What is learnt from what."""
    model: ModelConfig
    """Towers, fusion, trunk, heads."""
    data: DataConfig = DataConfig()
    """Where samples come from and how they are prepared."""
    train: TrainConfig = TrainConfig()
    """How the model is trained."""

    def problems(self) -> Iterator[Problem]:
        """A model or data that cannot do the task."""
        yield from self.task.misfits(self.model, self.data)
        if self.task.needs_special_tokens and not self.data.tokenizer.special_tokens:
            what = "pads its texts, and says where they end: only language modelling can do without special tokens"
            yield Problem("data.tokenizer.special_tokens", f"{self.task.kind} {what}")
        if self.task.runs_again and self.train.compile:
            yield Problem("train.compile", f"{self.task.kind} runs parts again here, which are then never compiled")
