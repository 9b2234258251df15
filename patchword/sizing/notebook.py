"""A sizing as notebooks show it: a table by component, a line about the peak. Names are escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from patchword.sizing.amounts import in_bytes, in_flops

if TYPE_CHECKING:
    from patchword.sizing.size import Component, Sizing

_HEADER = ("component", "parameters", "trainable", "forward", "backward", "vector", "activations", "at peak")


def as_html(found: Sizing) -> str:
    """A piece of HTML without styles, scripts or addresses."""
    rows = [_row("th", _HEADER), *(_row("td", _cells(part)) for part in (*found.components, found.total))]
    kinds = ", ".join(f"{name} {in_bytes(count)}" for name, count in found.by_category.items())
    lines = [f"{found.mode}, batch of {found.batch:,}. Peak {in_bytes(found.peak_bytes)} of tensors: {kinds}."]
    if found.uncounted:
        names = ", ".join(f"{name} ({count}x)" for name, count in found.uncounted.items())
        lines.append(f"FLOPs lack operations without a formula: {names}.")
    return f"<table>{''.join(rows)}</table>" + "".join(f"<p>{escape(line)}</p>" for line in lines)


def _cells(part: Component) -> tuple[str, ...]:
    flops = (part.flops.forward, part.flops.backward, part.flops.vector)
    amounts = (*map(in_flops, flops), in_bytes(part.activations), in_bytes(part.at_peak))
    return part.name, f"{part.parameters:,}", f"{part.trainable:,}", *amounts


def _row(tag: str, cells: Sequence[str]) -> str:
    first, *rest = (f"<{tag}>{escape(cell)}</{tag}>" for cell in cells)
    return f"<tr>{first}{''.join(rest)}</tr>"
