"""A deep model from shallow ones: blocks that are alike cost alike, so a few traces of three or four tell all.

A part of a step is named by the modules at work. What is there at its highest moment is a line over the depth of each
list of blocks: each block more brings its activations, weights and so on. Blocks are told from the front and from the
back; those between two neighbours lie on the line between them and are never the highest alone. One more trace, of five
blocks, checks the lines; where they do not hold, nothing is folded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

from patchword.sizing.tracing.kinds import Kinds
from patchword.sizing.tracing.record import Record
from patchword.sizing.tracing.tally import Flops, Moment, Name, Tally, tally

SHALLOW, DEEPER, CHECKED = 3, 4, 5
"""Depths that are traced: two for the lines, one more to check them."""

NAMED = 2
"""Blocks at each end that are told apart: at least one of a shallow model has neighbours of its own kind."""

Depths = dict[str, int]
"""Blocks of each list, by its path."""


def repeated(model: nn.Module) -> dict[str, nn.ModuleList]:
    """Lists of blocks that are alike and share nothing, by path; not those within others."""
    found: dict[str, nn.ModuleList] = {}
    for path, module in model.named_modules():
        inside = any(path.startswith(f"{outer}.") for outer in found)
        if isinstance(module, nn.ModuleList) and len(module) > CHECKED and not inside and _are_alike(module):
            found[path] = module
    return found


def _are_alike(blocks: nn.ModuleList) -> bool:
    def shape(block: nn.Module) -> list[Any]:
        weights = [(n, p.shape, p.dtype, p.requires_grad) for n, p in block.named_parameters()]
        return [*weights, *((n, type(m)) for n, m in block.named_modules())]

    if not all(isinstance(block, nn.Module) for block in blocks):  # a list may hold None
        return False
    first = shape(blocks[0])
    own = [id(p) for block in blocks for p in block.parameters()]
    return len(own) == len(set(own)) and all(shape(block) == first for block in blocks)


def folded(model: nn.Module, trace: Callable[[], Record], name: Name) -> Tally | None:
    """The sums of a whole model's record from traces of shallow ones; None: it is no deeper, or lines do not hold.

    Args:
        model: its lists of blocks are shortened while it is traced.
        trace: one run of it.
        name: components.
    """
    lists = repeated(model)
    traced = (len(lists) + 1) * SHALLOW * len(lists) + len(lists) + CHECKED * len(lists)
    if sum(map(len, lists.values())) <= traced:
        return None

    def at(depths: Depths) -> Tally:
        with shortened(lists, depths):
            record = trace()
        return tally(record, name, parts_of(record, depths))

    shallow = dict.fromkeys(lists, SHALLOW)
    base = at(shallow)
    slopes = {path: at({**shallow, path: DEEPER}) for path in lists}
    if any(more.moments.keys() != base.moments.keys() for more in slopes.values()):
        return None
    checked = at(dict.fromkeys(lists, CHECKED))
    if not _equal(_continued(base, slopes, dict.fromkeys(lists, CHECKED)), checked):
        return None
    return _continued(base, slopes, {path: len(blocks) for path, blocks in lists.items()})


def tally_of(model: nn.Module, trace: Callable[[], Record], name: Name) -> Tally:
    """The sums of a model's record, from shallow models where that is shorter."""
    return folded(model, trace, name) or tally(trace(), name)


@contextmanager
def shortened(lists: Mapping[str, nn.ModuleList], depths: Depths) -> Iterator[None]:
    """The first blocks of each list alone."""
    whole = {path: list(blocks) for path, blocks in lists.items()}
    for path, blocks in lists.items():
        del blocks[depths[path] :]
    try:
        yield
    finally:
        for path, blocks in lists.items():
            blocks.extend(whole[path][len(blocks) :])


def parts_of(record: Record, depths: Depths) -> list[tuple[str, ...]]:
    """Names of the parts of a step that each operation is of: its phase, its module, how often it has been there.

    In a list the block stands for the module, once counted from the front and once from the back. What is of no module
    (a gradient that is added up) goes with what came before.
    """
    found: list[tuple[str, ...]] = []
    visits: dict[tuple[str, ...], int] = {}
    last: tuple[str, ...] = ()
    for op in record.ops:
        places = _places(op.module, depths)
        now = tuple(f"{op.phase} {'again ' if op.again else ''}{place}" for place in places)
        if not op.module and last and last[0].startswith(f"{op.phase} "):
            now = last
        if now != last:
            visits[now] = visits.get(now, 0) + 1
        last = now
        found.append(tuple(f"{part} {visits[now]}" for part in now))
    return found


def _places(module: str, depths: Depths) -> tuple[str, ...]:
    for path, depth in depths.items():
        if module.startswith(f"{path}."):
            index = int(module.removeprefix(f"{path}.").partition(".")[0])
            front = [index] if index < NAMED else []
            back = [index - depth] if depth - index <= NAMED else []
            return tuple(f"{path}[{at}]" for at in (*front, *back)) or (f"{path}[between]",)
    return (module,)


def _continued(base: Tally, slopes: Mapping[str, Tally], depths: Depths) -> Tally:
    """The lines at other depths."""

    def line(read: Callable[[Tally], int]) -> int:
        start = read(base)
        return start + sum((depths[path] - SHALLOW) * (read(more) - start) for path, more in slopes.items())

    every = (base, *slopes.values())
    flops = {
        part: Flops(*(line(lambda t, p=part, i=i: t.flops.get(p, Flops())[i]) for i in range(len(Flops._fields))))
        for part in dict.fromkeys(part for t in every for part in t.flops)
    }
    moments = {}
    for key, moment in base.moments.items():
        names = dict.fromkeys(part for t in every for part in t.moments[key].parts)
        parts = {part: line(lambda t, k=key, p=part: t.moments[k].parts.get(p, 0)) for part in names}
        moments[key] = Moment(moment.phase, line(lambda t, k=key: t.moments[k].total), parts)

    def counts(read: Callable[[Tally], dict[str, int]]) -> dict[str, int]:
        names = dict.fromkeys(name for t in every for name in read(t))
        return {name: line(lambda t, n=name: read(t).get(n, 0)) for name in names}

    uncounted, unmeasured = counts(lambda t: t.uncounted), counts(lambda t: t.unmeasured)
    kinds = Kinds({k: line(lambda t, kind=k: t.kinds[kind]) for k in dict.fromkeys(k for t in every for k in t.kinds)})
    return Tally(flops, moments, uncounted, kinds, unmeasured)


def _equal(lines: Tally, traced: Tally) -> bool:
    """Whether lines say what a trace found; blocks between the others have no lines."""
    if (lines.flops, lines.uncounted, lines.unmeasured) != (traced.flops, traced.uncounted, traced.unmeasured):
        return False
    return all(key in traced.moments and moment.total == traced.moments[key].total
               for key, moment in lines.moments.items())  # fmt: skip
