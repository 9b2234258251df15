"""The page about what a configuration costs: memory over a step, at its peak and by batch, arithmetic, the tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from patchword.report.amounts import compact, duration, plain, whole
from patchword.report.listing import listing
from patchword.report.markup import Html, node
from patchword.report.page import document, write_page
from patchword.report.pieces import details, heading, table, tile
from patchword.report.sections import Section
from patchword.report.sizing_arithmetic import Roof, flops_chart, roofline
from patchword.report.sizing_data import Kind, at_peak, kinds, timeline
from patchword.report.sizing_memory import batch_chart, fitting, timeline_chart, waterfall
from patchword.sizing.amounts import in_bytes, in_flops
from patchword.sizing.planning.devices import Device, device
from patchword.sizing.size import Component, Sizing, component_of
from patchword.sizing.tracing.record import Record

_DEVICES = ("this-machine", "l4", "rtx-5090", "a100-80gb", "h200")


@dataclass(frozen=True)
class SizingReport:
    """Everything that the page shows."""

    title: str
    """What was sized."""
    sizing: Sizing
    record: Record
    """The step that `sizing` sums up."""
    measured: Mapping[int, Mapping[str, int]]
    """Most bytes of each phase at two batches or more."""
    device: Device
    """Whose roof is drawn, where it states its bandwidth and its FLOPs a second."""
    config_yaml: str
    """The complete configuration."""
    precision: str = "fp32"
    """Numbers of the forward and backward pass."""

    @property
    def devices(self) -> list[Device]:
        """Those whose memory is drawn: some of each size, and the one of the roof."""
        named = {device(name).memory_bytes: device(name) for name in _DEVICES}
        return sorted((named | {self.device.memory_bytes: self.device}).values(), key=lambda d: d.memory_bytes)

    @property
    def roof(self) -> Roof | None:
        """What the device can at most; None: it does not say."""
        flops, bandwidth = self.device.flops, self.device.bandwidth
        if bandwidth is None or not flops:
            return None
        said = self.precision if self.precision in flops else "fp32"
        return Roof(self.device.name, said, flops[said], bandwidth)


def write_sizing(path: Path, report: SizingReport) -> None:
    """Write the page: one HTML file that needs nothing else, and runs no script.

    Raises:
        RunError: the file cannot be written.
    """
    write_page(path, render_sizing(report))


def render_sizing(report: SizingReport) -> str:
    """The page's text."""
    sizing = report.sizing
    over = f"What it costs: {sizing.mode}, a batch of {whole(sizing.batch)}, {report.precision}"
    found = kinds(report.record, component_of)
    parts = [*_memory(report), *_arithmetic(report, found), *_tables(report), *_configuration(report)]
    return document(over, report.title or "Untitled configuration", _headline(report, found), _notes(sizing), parts)


def _headline(report: SizingReport, found: Sequence[Kind]) -> Html:
    total, roof = report.sizing.total, report.roof
    flops = total.flops.forward + total.flops.backward
    tiles = [
        tile("Parameters", compact(total.parameters), f"{whole(total.parameters)} numbers"),
        tile("Peak memory", in_bytes(report.sizing.peak_bytes), "of tensors, in one step"),
        tile("Arithmetic", in_flops(flops), "of products, forward and backward"),
    ]
    if roof is not None:
        least = sum(map(roof.least_seconds, found))
        tiles.append(tile("At the very least", _time(least), f"a step on {roof.device}, by its roof"))
    if report.sizing.time is not None:
        between = f"{_time(report.sizing.time.low)} to {_time(report.sizing.time.high)}"
        tiles.append(tile("Here", between, f"a step on this machine ({report.sizing.time.source})"))
    return node("dl", {"class": "tiles"}, *tiles)


def _time(seconds: float) -> str:
    if seconds >= 1:
        return duration(seconds) if seconds >= 10 else f"{plain(seconds)} s"
    return f"{plain(1000 * seconds)} ms" if seconds >= 1e-3 else f"{plain(1e6 * seconds)} µs"


def _notes(sizing: Sizing) -> list[str]:
    if not sizing.uncounted:
        return []
    return [f"FLOPs lack operations without a formula: {_counts(sizing.uncounted)}."]


# ------------------------------------------------------------------ sections


def _memory(report: SizingReport) -> Iterator[Section]:
    if not report.record.ops:
        return
    found = timeline(report.record)
    lead = (
        f"The peak of {in_bytes(found.peak)} is reached during {found.during}. What kernels use inside themselves is "
        "in it where that is known; the program and its libraries come on top."
    )
    content = [timeline_chart(found), waterfall(at_peak(report.record, component_of))]
    yield Section("memory", "Memory", content, lead)
    batch = report.sizing.batch
    lines = [f"{whole(fitting(report.measured, d.memory_bytes))} on {d.name}" for d in report.devices]
    lead = f"Each phase's peak is a line over the batch. So many samples' tensors fit: {', '.join(lines)}."
    yield Section("batch", "Memory by batch", [batch_chart(report.measured, max(batch, 1), report.devices)], lead)


def _arithmetic(report: SizingReport, found: Sequence[Kind]) -> Iterator[Section]:
    if not found:
        return
    content = [flops_chart(report.sizing.components)]
    if report.roof is not None:
        content.append(roofline(found, report.roof))
    lead = (
        "A multiplication and an addition count as two. Under the roof, operations of one name in one component are "
        "one dot: on the slope memory is what they wait for, on the level arithmetic."
    )
    yield Section("arithmetic", "Arithmetic", content, lead)


def _tables(report: SizingReport) -> Iterator[Section]:
    sizing = report.sizing
    names = ("Parameters", "Trainable", "Forward", "Backward", "Hardware", "Vector", "Activations", "At peak")
    head = node("tr", None, heading("Component"), *(heading(name, "number") for name in names))
    rows = [_component(part, part is sizing.total) for part in (*sizing.components, sizing.total)]
    tied = f"{whole(sizing.tied)} parameters stand in several places and are counted once"
    facts = f"{tied}; buffers hold {whole(sizing.buffers)} numbers more."
    yield Section("components", "Components", [table([head], rows)], facts)
    lacking, unknown = _counts(sizing.uncounted), _counts(sizing.unmeasured)
    yield Section(
        "ledger", "What is not counted", [node("ul", None, _item("FLOPs", lacking), _item("Workspaces", unknown))]
    )


def _component(part: Component, total: bool) -> Html:
    flops = part.flops
    cells = [whole(part.parameters), whole(part.trainable)]
    cells += [in_flops(count) for count in (flops.forward, flops.backward, flops.hardware, flops.vector)]
    cells += [in_bytes(part.activations), in_bytes(part.at_peak)]
    values = [node("td", {"class": "number"}, cell) for cell in cells]
    return node("tr", {"class": "best" if total else None}, node("th", {"scope": "row"}, part.name), *values)


def _counts(operations: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({whole(count)}x)" for name, count in operations.items())


def _item(what: str, lacking: str) -> Html:
    said = f"of these operations are not known: {lacking}." if lacking else "of every operation are known."
    return node("li", None, f"{what} {said}")


def _configuration(report: SizingReport) -> Iterator[Section]:
    if report.config_yaml.strip():
        lines = report.config_yaml.strip("\n").count("\n") + 1
        content = details(f"The complete configuration ({whole(lines)} lines)", listing(report.config_yaml))
        yield Section("configuration", "Configuration", [content])
