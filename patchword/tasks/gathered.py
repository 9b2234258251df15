"""What all ranks have of something: a loss over pairs sees the pairs of the whole batch, metrics the whole split.

The only place that knows of ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


class Gathered(NamedTuple):
    """Rows of all ranks, one rank after another."""

    every: Tensor
    """[n of all ranks, ...]."""
    mine: slice
    """Which of these are this rank's."""


def gathered(x: Tensor) -> Gathered:
    """The rows of all ranks; with one process, its own.

    Gradients of what any rank does with them come back to the rank that they are from, summed. Ranks may have
    different numbers of rows, also none; all of them have to call this in the same order.

    Args:
        x: [n, ...], of one type and width on all ranks.
    """
    if _alone():
        return Gathered(x, slice(0, len(x)))
    counts = [torch.zeros(1, dtype=torch.long, device=x.device) for _ in range(dist.get_world_size())]
    dist.all_gather(counts, torch.tensor([len(x)], device=x.device))
    sizes = [int(count) for count in counts]
    start = sum(sizes[: dist.get_rank()])
    every = _Gather.apply(x, sizes) if x.is_floating_point() else _all_rows(x, sizes)
    return Gathered(every, slice(start, start + len(x)))  # pyright: ignore[reportArgumentType]


def own_share(count: int) -> range:
    """Which of `count` things this rank looks at: equal shares, one rank's after another's; with one process, all."""
    if _alone():
        return range(count)
    rank, ranks = dist.get_rank(), dist.get_world_size()
    return range(count * rank // ranks, count * (rank + 1) // ranks)


def of_all_ranks(own: Sequence[T]) -> list[T]:
    """What all ranks found, on all of them: one rank's after another's; with one process, its own.

    All ranks have to call this in the same order, with anything that can be pickled, also with nothing.
    """
    if _alone():
        return list(own)
    every: list[list[T]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(every, list(own))
    return list(chain.from_iterable(every))


def _alone() -> bool:
    return not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)


def _all_rows(x: Tensor, sizes: list[int]) -> Tensor:
    room = x.new_zeros(max(sizes), *x.shape[1:])
    room[: len(x)] = x
    found = [torch.empty_like(room) for _ in sizes]
    dist.all_gather(found, room)
    return torch.cat([rows[:size] for rows, size in zip(found, sizes, strict=True)])


class _Gather(torch.autograd.Function):
    """Rows of all ranks; backward, the sum of what all ranks want of this rank's rows."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: list[int]) -> Tensor:
        start = sum(sizes[: dist.get_rank()])
        ctx.mine = slice(start, start + len(x))
        return _all_rows(x, sizes)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        total = grads[0].contiguous().clone()
        dist.all_reduce(total)
        return total[ctx.mine], None
