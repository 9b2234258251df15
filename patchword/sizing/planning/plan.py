"""What a training takes on a device: whether it fits, how long, how dear, how much energy. Intervals, never points."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import ceil
from typing import Any, NamedTuple

from patchword.config import UserError
from patchword.sizing.planning.devices import Device
from patchword.sizing.planning.overheads import Overhead, total
from patchword.sizing.planning.scale import Interval

DRAWN = (0.5, 1.0)
"""Share of its limit that a busy board draws; not measured here."""
JOULES = 3.6e6
"""Of a kilowatt-hour."""


class Price(NamedTuple):
    """What an hour of one device costs."""

    amount: float
    currency: str
    """As it was written; may be empty."""


def parse_price(text: str) -> Price:
    """`2.50`, `2.50EUR`, `$2.50`.

    Raises:
        UserError: it is no price.
    """
    found = re.fullmatch(r"\s*([^\d\s.+-]{0,8})\s*(\d+(?:\.\d+)?)\s*([^\d\s.+-]{0,8})\s*", text)
    if found is None or (found[1] and found[3]):
        raise UserError(f"{text!r} is no price of an hour: give an amount, as in 2.50, 2.50EUR or $2.50")
    return Price(float(found[2]), found[1] or found[3])


class Memory(NamedTuple):
    """What a device has to hold, in bytes."""

    tensors: int
    """At the peak of a step."""
    overheads: tuple[Overhead, ...]
    device: int
    """What the device has."""

    @property
    def needed(self) -> Interval:
        """All of it."""
        low, high = total(self.overheads)
        return Interval(self.tensors + low, self.tensors + high)

    @property
    def fits(self) -> str:
        """`yes`, `no`, or `perhaps` where it depends on what is only known as a range."""
        low, high = self.needed
        return "yes" if high <= self.device else "no" if low > self.device else "perhaps"

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "tensor_bytes": self.tensors,
            "overheads": [row.to_dict() for row in self.overheads],
            "needed_bytes": list(self.needed),
            "device_bytes": self.device,
            "fits": self.fits,
        }


class Kernel(NamedTuple):
    """Fused attention of one shape, and what would run it on the device."""

    queries: int
    keys: int
    head_dim: int
    masked: bool
    backend: str
    calls: int
    """In one step."""


class Plan(NamedTuple):
    """What a training takes."""

    device: Device
    devices: int
    precision: str
    batch: int
    """Samples of one device at a time."""
    step_samples: int
    """Samples of a step, of all devices."""
    steps: int
    samples: int
    tokens_per_sample: int
    """Text tokens, every text as long as can be."""
    memory: Memory
    attention: tuple[Kernel, ...]
    step_seconds: Interval
    talk_seconds: Interval
    """In which devices exchange gradients; part of a step unless it is hidden behind the backward pass."""
    source: str
    """Where the time of a step comes from."""
    price: Price | None

    @property
    def samples_per_second(self) -> Interval:
        """Of all devices."""
        return Interval(self.step_samples / self.step_seconds.high, self.step_samples / self.step_seconds.low)

    @property
    def hours(self) -> Interval:
        """Of training; reading data, evaluations and checkpoints are not in it."""
        return Interval(*(self.steps * seconds / 3600 for seconds in self.step_seconds))

    @property
    def cost(self) -> Interval | None:
        """Of all devices; None: no price was given."""
        if self.price is None:
            return None
        hourly = self.price.amount * self.devices
        return Interval(self.hours.low * hourly, self.hours.high * hourly)

    @property
    def energy(self) -> Interval | None:
        """Kilowatt-hours of the boards alone; None: nobody says what this device draws."""
        if self.device.watts is None:
            return None
        low, high = (
            hours * share * self.device.watts * self.devices * 3600 / JOULES
            for hours, share in zip(self.hours, DRAWN, strict=True)
        )
        return Interval(low, high)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `patchword plan --json` prints it."""
        speed, cost, energy = self.samples_per_second, self.cost, self.energy
        return {
            "device": self.device.name,
            "devices": self.devices,
            "precision": self.precision,
            "batch": self.batch,
            "step_samples": self.step_samples,
            "steps": self.steps,
            "samples": self.samples,
            "tokens": self.samples * self.tokens_per_sample,
            "memory": self.memory.to_dict(),
            "attention": [kernel._asdict() for kernel in self.attention],
            "time": {
                "step_seconds": list(self.step_seconds),
                "talk_seconds": list(self.talk_seconds),
                "source": self.source,
                "samples_per_second": list(speed),
                "tokens_per_second": [self.tokens_per_sample * rate for rate in speed],
                "hours": list(self.hours),
            },
            "cost": None if cost is None else list(cost),
            "currency": None if self.price is None else self.price.currency,
            "energy_kwh": None if energy is None else list(energy),
        }


def step_with(computing: Interval, talking: Interval) -> Interval:
    """At best all talk is hidden behind the computing, at worst none of it."""
    return Interval(max(computing.low, talking.low), computing.high + talking.high)


def budget(samples: int | None, tokens: int | None, own: int, tokens_per_sample: int) -> int:
    """Samples to train on.

    Args:
        samples: as asked for; None: not asked for.
        tokens: as asked for; None: not asked for.
        own: what the run's own steps come to.
        tokens_per_sample: of text.

    Raises:
        UserError: both were asked for, or none is left, or a sample has no text.
    """
    if samples is not None and tokens is not None:
        raise UserError("--samples and --tokens both say how long to train: drop one of them")
    if tokens is not None:
        if not tokens_per_sample:
            raise UserError("--tokens: this model reads no text; say how long with --samples")
        samples = ceil(tokens / tokens_per_sample)
    found = own if samples is None else samples
    if found < 1:
        raise UserError("a plan needs at least one sample")
    return found


class Fitting(NamedTuple):
    """The largest batch without and with activation checkpointing."""

    sure: dict[bool, int]
    """By whether blocks are checkpointed: fits even if all beside tensors is as large as may be; 0: none does."""
    perhaps: dict[bool, int]
    """The same if it is as small as may be."""
    target: int | None
    """Samples of a step that are wanted."""
    ranks: int | None
    """Fewest ranks of FSDP, a power of two, on which one checkpointed sample of each fits; None: not asked, or none."""
    device: Device | None
    memory: int
    """Bytes."""
    overheads: tuple[Overhead, ...]
    """Beside the tensors of the largest batch that fits for sure."""

    def accumulate(self, checkpointed: bool) -> int | None:
        """Batches of a step of `target` samples; None: nothing is wanted, or nothing fits."""
        fits = self.sure[checkpointed]
        return None if self.target is None or not fits else -(-self.target // fits)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `patchword size --fit --json` prints it under `fit`."""

        def rows(checkpointed: bool) -> Mapping[str, Any]:
            batches = {"largest_batch": [self.sure[checkpointed], self.perhaps[checkpointed]]}
            return batches | {"accumulate": self.accumulate(checkpointed)}

        return {
            "device": self.device.name if self.device is not None else None,
            "memory_bytes": self.memory,
            "overheads": [row.to_dict() for row in self.overheads],
            "plain": rows(False),
            "checkpointed": rows(True),
            "target_batch": self.target,
            "fsdp_ranks": self.ranks,
        }
