"""How many steps a training has: as its settings say, or as many as its epochs turn out to be."""

from __future__ import annotations

from collections.abc import Callable

from patchword.config import TrainConfig
from patchword.data.sampler import BatchSampler


def in_steps(config: TrainConfig, sampler: BatchSampler, say: Callable[[str], object]) -> TrainConfig:
    """Settings whose `steps` are those of `epochs`, where these are set: every batch of them is learnt from.

    A person is told where the learning rate has no time to fall.
    """
    if config.epochs is not None:
        batches = sum(len(sampler.epoch(number)) for number in range(config.epochs))
        config = config.replace(steps=-(-batches // config.accumulate))
    if config.schedule.warmup >= config.steps:
        say(
            f"warning: train.schedule.warmup ({config.schedule.warmup}) is not shorter than train.steps "
            f"({config.steps}): the learning rate never reaches its fall"
        )
    return config
