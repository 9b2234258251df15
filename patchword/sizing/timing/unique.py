"""Each distinct operation remade from its signature with real tensors, and timed.

In a step, what an operation reads was made just before, or long ago: weights and saved activations are no longer in a
core's cache. So an operation is run over two rings of inputs, a near one that a last-level cache holds and a far one
that a core's own caches do not; what it makes stays until the ring has turned. The truth lies between the two.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import reduce
from time import perf_counter
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from patchword.sizing.tracing.signature import NAMED, TENSOR

_NEAR, _FAR = 16 * 2**20, 64 * 2**20
"""Bytes that a ring is to hold."""
_LONGEST = {_NEAR: 16, _FAR: 128}
"""Most sets of inputs in a ring."""
_AT_ONCE = 64
"""Most calls in one sample."""
_FEWEST, _MOST = 7, 60
"""Samples of one operation."""
_BUDGET = 0.015
"""Seconds to spend on one ring, once the fewest samples are there."""
_LONG = 1e-3
"""Seconds above which one call is a sample; below, a turn of the ring is: reading the clock takes time itself."""

_REFUSALS = (RuntimeError, TypeError, IndexError, ValueError, NotImplementedError, ZeroDivisionError, AttributeError)

Clock = Callable[[], float]


class Timing(NamedTuple):
    """Seconds of one call: first and third quartile, with inputs near and far."""

    near_low: float
    near_high: float
    far_low: float
    far_high: float

    def between(self, least: float, most: float) -> tuple[float, float]:
        """An interval from `least` to `most` of the way from near to far."""
        low = self.near_low + least * (self.far_low - self.near_low)
        return low, max(self.near_high + most * (self.far_high - self.near_high), low)


class RemakeError(Exception):
    """An operation whose inputs cannot be made up; says why."""


class Remade:
    """One operation with inputs of its own.

    Real numbers lie between 0.1 and 1, so that logarithms, roots and quotients are ordinary; single ones are 1. Truth
    is true.

    Args:
        signature: as `signature_of` writes it.
        fill: whole numbers; 0 is a place in any table.

    Raises:
        RemakeError: it names an operation that is not here.
    """

    def __init__(self, signature: str, fill: int = 0) -> None:
        self.name, self._args, self._kwargs = json.loads(signature)
        self._fill = fill
        try:
            self.func: Any = reduce(getattr, self.name.split("."), torch.ops)
        except AttributeError as error:
            raise RemakeError(f"there is no operation {self.name}") from error

    def inputs(self) -> tuple[list[Any], dict[str, Any]]:
        """New arguments: positional, named.

        Raises:
            RemakeError: one is of a type that is not written down.
        """
        return [self._make(a) for a in self._args["list"]], {k: self._make(v) for k, v in self._kwargs.items()}

    def _make(self, plain: Any) -> Any:
        if isinstance(plain, dict):
            return [self._make(item) for item in plain["list"]]
        if not isinstance(plain, list):
            return plain
        if plain[0] == TENSOR:
            return _tensor(getattr(torch, plain[1]), plain[2], plain[3], self._fill)
        assert plain[0] == NAMED
        if plain[1] == "unknown":
            raise RemakeError(f"an argument is a {plain[2]}")
        return torch.device(plain[2]) if plain[1] == "device" else getattr(torch, plain[2])


def _tensor(dtype: torch.dtype, shape: Sequence[int], stride: Sequence[int], fill: int) -> Tensor:
    reach = 1 + sum((n - 1) * s for n, s in zip(shape, stride, strict=True)) if 0 not in shape else 0
    if dtype is torch.bool:
        flat = torch.ones(reach, dtype=dtype)
    elif not dtype.is_floating_point:
        flat = torch.full((reach,), fill, dtype=dtype)
    elif not shape:
        flat = torch.ones(reach, dtype=dtype)
    else:
        flat = _drawn(reach, dtype)
    return flat.as_strided(tuple(shape), tuple(stride))


_pools: dict[torch.dtype, Tensor] = {}


def _drawn(count: int, dtype: torch.dtype) -> Tensor:
    """Numbers in [0.1, 1), copied from a pool as often as it takes: drawing each anew would take longer than timing."""
    if dtype not in _pools:
        _pools[dtype] = (torch.rand(2**20, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.1).to(dtype)
    pool, flat = _pools[dtype], torch.empty(count, dtype=dtype)
    for start in range(0, count, len(pool)):
        part = flat[start : start + len(pool)]
        part.copy_(pool[: len(part)])
    return flat


def remake(signature: str) -> Remade:
    """The operation with inputs that it accepts: whole numbers 0, or 1 where it divides by them.

    Raises:
        RemakeError: it takes neither.
    """
    said = ""
    for fill in (0, 1):
        made = Remade(signature, fill)
        args, kwargs = made.inputs()
        try:
            with torch.no_grad():
                made.func(*args, **kwargs)
        except _REFUSALS as error:
            said = said or str(error).partition("\n")[0]
        else:
            return made
    raise RemakeError(said)


def time_operation(signature: str, clock: Clock = perf_counter) -> Timing:
    """Seconds of one call.

    Raises:
        RemakeError: it cannot be run on made-up inputs.
    """
    made = remake(signature)
    with torch.no_grad():
        first = made.inputs()
        start = clock()
        out = made.func(*first[0], **first[1])
        once, size = clock() - start, max(_bytes((first, out)), 1)
        del first, out
        near, far = (min(-(-bytes_ // size), _LONGEST[bytes_]) for bytes_ in (_NEAR, _FAR))
        samples = _quartiles(_samples(made, near, once, clock))
        if near == far:
            return Timing(*samples, *samples)
        away = _quartiles(_samples(made, far, once, clock))
    return Timing(*samples, *(max(pair) for pair in zip(samples, away, strict=True)))


def _quartiles(samples: list[float]) -> tuple[float, float]:
    """First and third, of what is in order."""
    return samples[len(samples) // 4], samples[(3 * len(samples)) // 4]


def _samples(made: Remade, length: int, once: float, clock: Clock) -> list[float]:
    """Seconds of a call, in order, over a ring of so many inputs; `once`: about how long it takes."""
    ring, func = [made.inputs() for _ in range(length)], made.func
    kept: list[Any] = [None] * length
    at_once = 1 if once > _LONG else min(length, _AT_ONCE)
    for place, (args, kwargs) in enumerate(ring[:2]):
        kept[place] = func(*args, **kwargs)
    found: list[float] = []
    spent, place = 0.0, 0
    while len(found) < _FEWEST or (spent < _BUDGET and len(found) < _MOST):
        start = clock()
        for _ in range(at_once):
            args, kwargs = ring[place]
            kept[place] = func(*args, **kwargs)
            place = (place + 1) % length
        took = clock() - start
        spent += took
        found.append(took / at_once)
    return sorted(found)


def _bytes(tree: Any) -> int:
    """Bytes of all storages, those that are shared once."""
    storages = [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
    return sum({storage._cdata: storage.nbytes() for storage in storages}.values())
