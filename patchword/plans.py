"""The verbs that say what a training takes on a device or on many, in Python, as on the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from patchword.config import RunConfig, UserError
from patchword.costs import size
from patchword.models.presets import load_config
from patchword.sizing.planning.devices import device as find_device
from patchword.sizing.planning.fit import parse_bytes
from patchword.sizing.planning.plan import Fitting, Plan, parse_price
from patchword.sizing.planning.scale import TOGETHER, Interval
from patchword.training.planning import Scaled, fitting, plan_of, scaled

Spec = str | Path | Mapping[str, Any] | RunConfig


def plan(
    spec: Spec,
    device: str,
    devices: int = 1,
    samples: int | None = None,
    tokens: int | None = None,
    price: float | str | None = None,
    batch: int | None = None,
    network: int | str | None = None,
    **overrides: Any,
) -> Plan:
    """What a training takes: whether it fits, time, cost and energy, all as intervals; nothing is allocated.

    Args:
        spec: a preset's name, a .yaml or .json file, a mapping, or a configuration.
        device: a name of docs/sizing/devices.md, or `this-machine`.
        devices: how many, each with a copy of the model and a batch.
        samples: how many to train on; by default as many as the run's own steps read.
        tokens: instead, text tokens to train on.
        price: of an hour of one device: 2.5, `2.50EUR`.
        batch: samples of one device at a time; None: as many as `data.batch.size`.
        network: bytes a second between devices, `25GB`; None: as the table of devices, or networks, have it.
        overrides: dotted settings, as on the command line.

    Raises:
        UserError: one of these is wrong, or no public figure says what is needed of the device.
    """
    paid = None if price is None else parse_price(str(price))
    run = load_config(spec, overrides)
    return plan_of(run, find_device(device), devices, samples, tokens, paid, batch, _across(network))


def plan_scale(
    spec: Spec,
    device: str,
    ranks: Sequence[int],
    batch: int | None = None,
    network: int | str | None = None,
    together: int = TOGETHER,
    **overrides: Any,
) -> list[Scaled]:
    """What one machine cannot hold, on paper: each rank's bytes, what it sends, and the time of a step.

    Args:
        spec: as for `plan`.
        device: of each rank.
        ranks: counts of them.
        batch: samples of one rank; None: as many as `data.batch.size`.
        network: bytes a second of one rank, `25GB`.
        together: ranks of one machine, which use the device's own link.
        overrides: dotted settings, as on the command line.

    Raises:
        UserError: as `plan`.
    """
    run = load_config(spec, overrides)
    return scaled(run, find_device(device), ranks, batch, _across(network), together)


def fit(spec: Spec, where: int | str, target: int | None = None, **overrides: Any) -> Fitting:
    """The largest batch of a training step, without and with activation checkpointing, and what more would take.

    Args:
        spec: as for `plan`.
        where: a device's name, or an amount of memory for tensors alone: `8GiB`, bytes.
        target: samples of a step that are wanted.
        overrides: dotted settings, as on the command line.

    Raises:
        UserError: one of these is wrong.
    """
    run = load_config(spec, overrides)
    place = where if isinstance(where, int) else parse_bytes(where) if is_amount(where) else find_device(where)
    return fitting(run, place, lambda run, batch: size(run, "train", batch).by_phase, target)


def is_amount(where: str) -> bool:
    """Whether this is meant as an amount of memory: devices' names begin with a letter."""
    return not where.strip()[:1].isalpha()


def _across(network: int | str | None) -> Interval | None:
    if network is None:
        return None
    speed = parse_bytes(network) if isinstance(network, str) else network
    if speed <= 0:
        raise UserError(f"network: more than nothing, got {network}")
    return Interval(speed, speed)
