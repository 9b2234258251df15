"""What a model costs: parameters, FLOPs and memory, by component, from one record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

from patchword.sizing.notebook import as_html
from patchword.sizing.record import BACKWARD, FORWARD, OPTIMIZER, Record


class Flops(NamedTuple):
    """FLOPs of one step, a multiplication and an addition counted as two: docs/sizing/flops.md."""

    forward: int = 0
    """Model FLOPs of the forward pass: products of matrices and convolutions that the definition asks for."""
    backward: int = 0
    """The same of the backward pass."""
    hardware: int = 0
    """Products that kernels compute, in all phases: less where causal ones leave out, more where something is computed
    again."""
    again: int = 0
    """Part of `hardware` that activation checkpointing computes a second time."""
    vector: int = 0
    """All other arithmetic, of all phases."""


class Component(NamedTuple):
    """One tower, the fusion, the trunk or a head."""

    name: str
    parameters: int
    trainable: int
    flops: Flops
    activations: int
    """Bytes that its forward pass keeps for the backward pass, at the peak of all."""
    at_peak: int
    """All bytes that are its own at the peak."""


class Sizing(NamedTuple):
    """What one step costs."""

    mode: str
    """`train` or `inference`."""
    batch: int
    """Samples."""
    components: tuple[Component, ...]
    total: Component
    tied: int
    """Parameters that stand in several places, counted once in the total."""
    buffers: int
    """Numbers in buffers."""
    peak_bytes: int
    """Most bytes of tensors that are there at one time; what kernels use inside themselves is not seen."""
    by_category: dict[str, int]
    """Those at the peak, by what they are for."""
    by_phase: dict[str, int]
    """Most bytes in each phase."""
    uncounted: dict[str, int]
    """Operations that make numbers and for which no formula stands, with how often they run: the FLOPs lack them."""

    def _repr_html_(self) -> str:
        return as_html(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `patchword size --json` prints it."""

        def flops(found: Flops) -> dict[str, int]:
            return {
                "forward": found.forward,
                "backward": found.backward,
                "hardware": found.hardware,
                "recomputed": found.again,
                "vector": found.vector,
            }

        rows = {
            part.name: {
                "parameters": part.parameters,
                "trainable": part.trainable,
                "flops": flops(part.flops),
                "activation_bytes": part.activations,
                "at_peak_bytes": part.at_peak,
            }
            for part in self.components
        }
        total = self.total
        return {
            "mode": self.mode,
            "batch": self.batch,
            "parameters": {
                "total": total.parameters,
                "trainable": total.trainable,
                "tied": self.tied,
                "buffers": self.buffers,
            },
            "flops": flops(total.flops),
            "memory": {"peak_bytes": self.peak_bytes, "by_category": self.by_category, "by_phase": self.by_phase},
            "components": rows,
            "uncounted": self.uncounted,
        }


def component_of(path: str) -> str:
    """`image` of `towers.image.stack.blocks.0`, `text head` of `heads.text.proj`; outside of all modules, `loss`."""
    first, _, rest = path.partition(".")
    name = rest.partition(".")[0]
    return name if first == "towers" else f"{name} head" if first == "heads" else first or "loss"


def summarise(
    model: nn.Module, record: Record, mode: str, batch: int, name: Callable[[str], str] = component_of
) -> Sizing:
    """Everything that one record says, by component as `name` makes it of a module's path."""
    peak, place = record.peak()
    at_peak, activations = Counter[str](), Counter[str]()
    by_category = Counter[str]()
    for block in record.there(place):
        category = record.category(block)
        by_category[category] += block.size
        at_peak[name(block.module)] += block.size
        if category == "activations":
            activations[name(block.module)] += block.size
    flops = _flops(record, name)
    parameters, trainable, seen, tied = Counter[str](), Counter[str](), set[int](), 0
    for path, parameter in model.named_parameters(remove_duplicate=False):
        if id(parameter) in seen:
            tied += parameter.numel()
            continue
        seen.add(id(parameter))
        parameters[name(path)] += parameter.numel()
        trainable[name(path)] += parameter.numel() if parameter.requires_grad else 0
    names = dict.fromkeys([*parameters, *flops, *at_peak])
    parts = [
        Component(n, parameters[n], trainable[n], flops.get(n, Flops()), activations[n], at_peak[n]) for n in names
    ]
    parts = [part for part in parts if any(part[1:3]) or any(part.flops) or part.at_peak]
    every = Flops(*(sum(column) for column in zip(*flops.values()))) if flops else Flops()
    total = Component("all", parameters.total(), trainable.total(), every, activations.total(), peak)
    live, phases = record.live(), {}
    for phase in (FORWARD, BACKWARD, OPTIMIZER):
        found = [bytes_ for bytes_, op in zip(live, record.ops, strict=True) if op.phase == phase]
        if found:
            phases[phase] = max(found)
    uncounted = Counter(op.name for op in record.ops if not op.work.known)
    buffers = sum(b.numel() for b in model.buffers())
    return Sizing(
        mode, batch, tuple(parts), total, tied, buffers, peak, dict(by_category.most_common()), phases, dict(uncounted)
    )


def _flops(record: Record, name: Callable[[str], str]) -> dict[str, Flops]:
    found: dict[str, Flops] = {}
    for op in record.ops:
        model, hardware, vector = op.work[:3]
        if model or hardware or vector:
            part = name(op.module)
            forward, backward = (0 if op.again or op.phase != phase else model for phase in (FORWARD, BACKWARD))
            added = (forward, backward, hardware, hardware if op.again else 0, vector)
            found[part] = Flops(*(a + b for a, b in zip(found.get(part, Flops()), added, strict=True)))
    return found
