"""The block pattern: own, neighbouring, global and random blocks."""

from __future__ import annotations

import torch
from torch import Tensor

from patchword.config import BlockPatternConfig, implements
from patchword.nn.mechanisms.patterns import Look, Pattern

MASK32 = 2**32 - 1


@implements(BlockPatternConfig)
class BlockPattern(Pattern):
    """Own, neighbouring, global and random blocks (Zaheer et al. 2020)."""

    def __init__(self, config: BlockPatternConfig, causal: bool) -> None:
        self.config, self.causal = config, causal
        self.num_global = config.num_global * config.block_size

    def looks(self, longest: int, ahead: bool, alone: bool) -> tuple[Look, ...]:
        """One."""
        return (BlockLook(self, ahead),)

    def random_blocks(self, block: Tensor, count: Tensor) -> Tensor:
        """The random blocks that a block sees, none twice, none that it sees anyway, -1 where there are too few.

        Causal ones are drawn from the blocks before it, so that they stay the same while a sequence grows; others from
        all `count` blocks of the document. int [R, n] each -> [R, n, num_random].
        """
        config, picks = self.config, []
        low = (block - config.num_neighbours).clamp_min(config.num_global)
        high = (block + config.num_neighbours + 1).clamp_min(config.num_global)
        free = before = low - config.num_global
        if not self.causal:
            before = torch.minimum(before, (count - config.num_global).clamp_min(0))
            free = before + (count - high).clamp_min(0)
        for i in range(config.num_random):
            pick = _chance(config.seed, block * config.num_random + i) * (free - i).clamp_min(0) >> 32
            for other in _ascending(picks):  # the pick-th of those not drawn yet
                pick = pick + (pick >= other)
            picks.append(pick)
        if not picks:
            return block.new_zeros(*block.shape, 0)
        drawn, before = torch.stack(picks, -1), before[..., None]
        chosen = torch.where(drawn < before, drawn + config.num_global, drawn - before + high[..., None])
        few = torch.arange(config.num_random, device=block.device) >= free[..., None]
        return chosen.masked_fill(few, -1)


class BlockLook(Look):
    """Each block is a cell."""

    def __init__(self, pattern: BlockPattern, ahead: bool) -> None:
        self.pattern, self.config, self.ahead = pattern, pattern.config, ahead

    def cell(self, rank: Tensor) -> Tensor:
        """The block."""
        return rank // self.config.block_size

    def keys(self, cell: Tensor, count: Tensor) -> Tensor:
        """[R, n] -> [R, n, blocks * block_size]."""
        size, around, first = self.config.block_size, self.config.num_neighbours, self.config.num_global
        near = cell[..., None] + torch.arange(-around, (around if self.ahead else 0) + 1, device=cell.device)
        near = near.masked_fill(near < first, -1)
        known = torch.arange(first, device=cell.device).expand(*cell.shape, -1)
        blocks = torch.cat([near, known, self.pattern.random_blocks(cell, -(-count // size))], -1)
        ranks = blocks[..., None] * size + torch.arange(size, device=cell.device)
        return ranks.masked_fill(blocks[..., None] < 0, -1).flatten(2)


def _ascending(tensors: list[Tensor]) -> list[Tensor]:
    """The same numbers, in every place from the least to the greatest."""
    return list(torch.stack(tensors, -1).sort(-1).values.unbind(-1)) if tensors else []


def _chance(seed: int, number: Tensor) -> Tensor:
    """A number below 2^32 that looks random, always the same for the same seed and number (in plain arithmetic, so
    that it is the same on every device)."""
    mixed = number
    for salt in (seed * 2 + 1, 0x9E3779B9, 0x85EBCA6B):
        mixed = (mixed + salt) & MASK32
        mixed = ((mixed ^ (mixed >> 16)) * 0x45D9F3B) & MASK32
        mixed = ((mixed ^ (mixed >> 15)) * 0x2C1B3C6D) & MASK32
    return mixed ^ (mixed >> 16)
