"""What one machine cannot hold, on paper: bytes of each of many ranks, and what they send one another in a step.

DDP keeps all on each rank; ZeRO (Rajbhandari et al. 2020) shards the optimizer's state (1), gradients too (2) and
parameters too (3, which is FSDP: Zhao et al. 2023). Ranks are numbered W. All sizes are of the rank that has most.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, prod
from typing import Any, NamedTuple

from torch import nn

from patchword.config import UserError
from patchword.sizing.planning.devices import Device
from patchword.sizing.tracing.record import OPTIMIZER, Record

DDP, ZERO1, ZERO2, ZERO3 = STRATEGIES = ("ddp", "zero-1", "zero-2", "zero-3")

SIZE = 4
"""Bytes of a number: weights, gradients and the optimizer's state are fp32."""
EFFICIENCY = (0.5, 0.95)
"""Share of a link's speed that a collective of large tensors reaches."""
ACROSS = (12.5e9, 50e9)
"""Bytes a second of one rank to other machines where nothing is said: adapters of 100 to 400 Gbit/s."""
TOGETHER = 8
"""Ranks of one machine."""
START = 20e-6
"""Most seconds of each stage of a collective; there are log2(W) or more."""


class Interval(NamedTuple):
    """Least and most."""

    low: float
    high: float


class Weights(NamedTuple):
    """A model's numbers, as they are cut."""

    shapes: tuple[tuple[int, ...], ...]
    """Of every parameter."""
    trainable: tuple[bool, ...]
    units: tuple[int, ...]
    """Numbers of each unit that is gathered at a time; the last one is what belongs to no block."""

    @property
    def numbers(self) -> int:
        """Of all parameters."""
        return sum(map(prod, self.shapes))

    @property
    def trained(self) -> int:
        """Of those that are trained."""
        return sum(prod(shape) for shape, does in zip(self.shapes, self.trainable, strict=True) if does)


def weights_of(model: nn.Module, unit: type[nn.Module]) -> Weights:
    """Of a model whose modules of class `unit` are gathered one at a time."""
    every = dict(model.named_parameters())
    taken: set[int] = set()
    units: list[int] = []
    for module in model.modules():
        if isinstance(module, unit):
            own = [p for p in module.parameters() if id(p) not in taken]
            taken |= {id(p) for p in own}
            units.append(sum(p.numel() for p in own))
    units.append(sum(p.numel() for p in every.values() if id(p) not in taken))
    shapes = tuple(tuple(p.shape) for p in every.values())
    return Weights(shapes, tuple(p.requires_grad for p in every.values()), tuple(units))


def cut(shape: Sequence[int], ranks: int) -> int:
    """Numbers of the largest part of a tensor that FSDP2 cuts along its first dimension."""
    return -(-shape[0] // ranks) * prod(shape[1:]) if shape else 1


class Share(NamedTuple):
    """What one rank holds and sends under one strategy; bytes."""

    strategy: str
    ranks: int
    parameters: int
    gradients: int
    optimizer: int
    gathered: int
    """Whole parameters, and their gradients, of the units at work; zero-3 alone."""
    rest: int
    """Activations and all else of this rank's own batch."""
    peak: Interval
    """Bytes at the peak of a step."""
    sent: float
    """Bytes that a rank sends in a step, and as many it receives."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**self._asdict(), "peak": list(self.peak)}


class Step(NamedTuple):
    """What an unsharded step holds beside weights and the optimizer's state, at its highest moments.

    A moment is (bytes of gradients, bytes of all the rest): only those that no other exceeds in both are kept.
    """

    computing: tuple[tuple[int, int], ...]
    """In forward and backward."""
    optimizing: tuple[tuple[int, int], ...]
    """While the optimizer works."""

    def most(self, part: float, more: int = 0) -> int:
        """Most bytes where only this part of the gradients is there, and so many bytes more while computing."""
        computing = max((ceil(grads * part) + rest for grads, rest in self.computing), default=0) + more
        return max(computing, max((ceil(grads * part) + rest for grads, rest in self.optimizing), default=0))


def step_of(record: Record) -> Step:
    """From the record of an unsharded step."""
    change = [[0, 0] for _ in range(len(record.ops) + 1)]
    for block in record.blocks:
        if block.category not in ("parameters", "optimizer"):
            column = 0 if block.category == "gradients" else 1
            change[max(block.born, 0)][column] += block.size
            if block.died is not None:
                change[block.died][column] -= block.size
    grads, rest = 0, 0
    seen: dict[bool, dict[int, int]] = {False: {}, True: {}}
    for op, (more, other) in zip(record.ops, change, strict=False):
        grads, rest = grads + more, rest + other
        moments = seen[op.phase == OPTIMIZER]
        moments[grads] = max(moments.get(grads, 0), rest)
    return Step(_front(seen[False]), _front(seen[True]))


def _front(moments: dict[int, int]) -> tuple[tuple[int, int], ...]:
    """Those that none exceeds in both."""
    kept: list[tuple[int, int]] = []
    for grads in sorted(moments, reverse=True):
        if not kept or moments[grads] > kept[-1][1]:
            kept.append((grads, moments[grads]))
    return tuple(kept)


def share(weights: Weights, step: Step, strategy: str, ranks: int) -> Share:
    """One rank's part, with AdamW: two numbers for each weight and a count for each tensor, all in fp32.

    Args:
        weights: of the model.
        step: of one rank's batch.
        strategy: `ddp`, `zero-1`, `zero-2`, `zero-3`.
        ranks: W, at least 1; one rank shards nothing.

    Raises:
        UserError: there is no rank.
    """
    if ranks < 1:
        raise UserError(f"ranks: at least 1, got {ranks}")
    level = STRATEGIES.index(strategy) if ranks > 1 else 0
    counts = SIZE * sum(weights.trainable)
    whole, trained, flat = SIZE * weights.numbers, SIZE * weights.trained, SIZE * -(-weights.trained // ranks)
    parameters, gradients, moments = whole, trained if level < 2 else flat, trained if level < 1 else flat
    if level == 3:
        pairs = list(zip(weights.shapes, weights.trainable, strict=True))
        parameters = SIZE * sum(cut(shape, ranks) for shape, _ in pairs)
        gradients = moments = SIZE * sum(cut(shape, ranks) for shape, does in pairs if does)
    optimizer = 2 * moments + counts
    gathered = _gathered(weights) if level == 3 else Interval(0, 0)
    part = gradients / trained if trained else 0.0
    low = parameters + optimizer + step.most(part, int(gathered.low))
    high = parameters + optimizer + step.most(part, int(gathered.high)) + _buckets(weights, level, ranks)
    peak, sent = Interval(low, high), _sent(weights, level, ranks)
    rest = max(rest for _, rest in (*step.computing, *step.optimizing))
    return Share(strategy, ranks, parameters, gradients, optimizer, int(gathered.high), rest, peak, sent)


def _buckets(weights: Weights, level: int, ranks: int) -> int:
    """Copies of gradients on their way: DDP's, unless gradients are views of its buckets; of two units under ZeRO-2."""
    if ranks == 1 or level == 3:
        return 0
    return SIZE * (weights.trained if level < 2 else 2 * max(weights.units))


def _gathered(weights: Weights) -> Interval:
    """At least the largest unit; at most what belongs to no block, two blocks and their gradients, copied once."""
    *blocks, root = weights.units
    largest = max(blocks, default=0)
    return Interval(SIZE * max(largest, root), SIZE * (2 * root + 4 * largest))


def _sent(weights: Weights, level: int, ranks: int) -> float:
    """Rings and trees alike: an all-reduce moves 2 (W-1)/W of its bytes, a gather or a scatter half of that."""
    part = (ranks - 1) / ranks * SIZE
    if level < 3:  # reduce-scatter of gradients and all-gather of weights are together one all-reduce
        return 2 * part * weights.trained
    root = weights.units[-1]  # stays whole from the forward to the backward pass
    return part * (2 * weights.numbers - root + weights.trained)


def collectives(weights: Weights, strategy: str) -> int:
    """How many a step starts."""
    units = sum(1 for unit in weights.units if unit)
    return 3 * units if strategy == ZERO3 else 2


def talk(
    sent: float, ranks: int, starts: int, device: Device, across: Interval | None = None, together: int = TOGETHER
) -> Interval:
    """Seconds in which a rank sends that much.

    Up to `together` ranks stand in one machine and use the device's own link; more use the network.

    Raises:
        UserError: no public figure says how fast the device's link is, and none was given.
    """
    if ranks == 1:
        return Interval(0.0, 0.0)
    if across is not None:
        link = across
    elif ranks > together:
        link = Interval(*ACROSS)
    elif device.interconnect is not None:
        link = Interval(device.interconnect, device.interconnect)
    else:
        raise UserError(
            f"no public figure says how fast {device.name} talks to another: give --network, in bytes a second"
        )
    stages = max((ranks - 1).bit_length(), 1)
    return Interval(sent / (link.high * EFFICIENCY[1]), sent / (link.low * EFFICIENCY[0]) + starts * stages * START)


def fewest_ranks(weights: Weights, step: Step, room: int, most: int = 2**14) -> int | None:
    """Fewest ranks, a power of two, on which ZeRO-3 fits into `room` bytes for sure; None: not even on `most`."""
    ranks = 1
    while ranks <= most:
        if share(weights, step, ZERO3 if ranks > 1 else DDP, ranks).peak.high <= room:
            return ranks
        ranks *= 2
    return None


def ranks_of(text: str) -> list[int]:
    """`8,64,1024`.

    Raises:
        UserError: these are no counts.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise UserError(f"{text!r} are no ranks: give counts from 1 on, as in 8,64,1024")
    return [int(part) for part in parts]


def every(weights: Weights, step: Step, ranks: Iterable[int]) -> list[Share]:
    """All strategies on all counts of ranks."""
    return [share(weights, step, strategy, count) for count in ranks for strategy in STRATEGIES]
