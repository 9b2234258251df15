"""What a model costs: parameters, FLOPs and memory, by component, from one record."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from torch import nn

from patchword.sizing.amounts import in_bytes, in_flops
from patchword.sizing.notebook import as_html
from patchword.sizing.timing.roofline import StepTime
from patchword.sizing.tracing.record import PHASES, Record
from patchword.sizing.tracing.tally import Flops, Name, Tally, tally


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

    def cells(self) -> tuple[str, ...]:
        """As people read it, by the columns of `HEADER`."""
        flops = map(in_flops, (self.flops.forward, self.flops.backward, self.flops.vector))
        numbers = (f"{self.parameters:,}", f"{self.trainable:,}")
        return self.name, *numbers, *flops, in_bytes(self.activations), in_bytes(self.at_peak)


HEADER = ("component", "parameters", "trainable", "forward", "backward", "vector", "activations", "at peak")


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
    """Most bytes that are there at one time: tensors, and what kernels take inside themselves where that is known."""
    by_category: dict[str, int]
    """Those at the peak, by what they are for."""
    by_phase: dict[str, int]
    """Most bytes in each phase."""
    uncounted: dict[str, int]
    """Operations that make numbers and for which no formula stands, with how often they run: the FLOPs lack them."""
    unmeasured: dict[str, int]
    """Operations whose kernels take memory inside themselves, nobody knows how much: the peak may lack it."""
    time: StepTime | None = None
    """How long the step takes here, an interval; None: nobody asked."""

    def _repr_html_(self) -> str:
        kinds = ", ".join(f"{name} {in_bytes(count)}" for name, count in self.by_category.items())
        lines = [f"{self.mode}, batch of {self.batch:,}. Peak {in_bytes(self.peak_bytes)} of tensors: {kinds}."]
        if self.uncounted:
            names = ", ".join(f"{name} ({count}x)" for name, count in self.uncounted.items())
            lines.append(f"FLOPs lack operations without a formula: {names}.")
        return as_html([HEADER, *(part.cells() for part in (*self.components, self.total))], lines)

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
            "unmeasured": self.unmeasured,
            **({"time": self.time.to_dict()} if self.time is not None else {}),
        }


def component_of(path: str) -> str:
    """`image` of `towers.image.stack.blocks.0`, `text head` of `heads.text.proj`; outside of all modules, `loss`."""
    first, _, rest = path.partition(".")
    name = rest.partition(".")[0]
    return name if first == "towers" else f"{name} head" if first == "heads" else first or "loss"


def summarise(model: nn.Module, record: Record, mode: str, batch: int, name: Name = component_of) -> Sizing:
    """Everything that one record says, by component as `name` makes it of a module's path."""
    return sizing_of(model, tally(record, name), mode, batch, name)


def sizing_of(model: nn.Module, found: Tally, mode: str, batch: int, name: Name = component_of) -> Sizing:
    """What a record's sums say of a model."""
    by_category, at_peak, activations = Counter[str](), Counter[str](), Counter[str]()
    peak = found.highest()
    for (category, part), size in peak.parts.items():
        by_category[category] += size
        at_peak[part] += size
        activations[part] += size if category == "activations" else 0
    parameters, trainable, seen, tied = Counter[str](), Counter[str](), set[int](), 0
    for path, parameter in model.named_parameters(remove_duplicate=False):
        if id(parameter) in seen:
            tied += parameter.numel()
            continue
        seen.add(id(parameter))
        parameters[name(path)] += parameter.numel()
        trainable[name(path)] += parameter.numel() if parameter.requires_grad else 0
    flops = found.flops
    names = dict.fromkeys([*parameters, *flops, *at_peak])
    parts = [
        Component(n, parameters[n], trainable[n], flops.get(n, Flops()), activations[n], at_peak[n]) for n in names
    ]
    parts = [part for part in parts if any(part[1:3]) or any(part.flops) or part.at_peak]
    every = Flops(*(sum(column) for column in zip(*flops.values(), strict=True))) if flops else Flops()
    total = Component("all", parameters.total(), trainable.total(), every, activations.total(), peak.total)
    phases: dict[str, int] = {}
    for phase in PHASES:
        highest = [moment.total for moment in found.moments.values() if moment.phase == phase]
        if highest:
            phases[phase] = max(highest)
    buffers = sum(b.numel() for b in model.buffers())
    kinds = dict(by_category.most_common())
    ledgers = (found.uncounted, found.unmeasured)
    return Sizing(mode, batch, tuple(parts), total, tied, buffers, peak.total, kinds, phases, *ledgers)
