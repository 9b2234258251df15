"""What is done to a model's blocks from outside: compiling them, and running them again in the backward pass."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.utils.checkpoint import checkpoint

from patchword.config import TrainConfig, UserError
from patchword.nn.block import Block


@contextmanager
def applied_to_blocks(model: nn.Module, config: TrainConfig) -> Iterator[None]:
    """Blocks are compiled, or keep no activations, as `config` says; the latter ends with the context.

    Raises:
        UserError: this is asked of a model that has no blocks.
    """
    asked = [name for name in ("compile", "checkpoint_blocks") if getattr(config, name)]
    blocks = [module for module in model.modules() if isinstance(module, Block)] if asked else []
    if asked and not blocks:
        raise UserError(f"train.{asked[0]}: this model has no blocks")
    for block in blocks:
        if config.checkpoint_blocks:  # the same dropout again: checkpoint() replays the random state
            block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)
        if config.compile:
            block.compile()
    try:
        yield
    finally:
        if config.checkpoint_blocks:
            for block in blocks:
                del block.forward
