"""One batch walked through a model: each step in order, what shape it gives, what it computes, and what it moves.

The steps are the calls of one forward pass and the operations between them; nothing is known here of any preset.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from torch import nn

from patchword.config import ModelConfig
from patchword.nn import PatchEmbedding, Stack
from patchword.nn.mechanisms import Mechanism
from patchword.nn.residual import Residual
from patchword.sizing.tracing.record import Op, Record
from patchword.sizing.tracing.rehearsal import Rehearsal
from patchword.sizing.walk.calls import Call, Shape, Watcher
from patchword.sizing.walk.letters import Alphabet, alphabets
from patchword.sizing.walk.sight import Sight, sight_of
from patchword.sizing.walk.steps import Step, folded, nothing
from patchword.sizing.walk.words import in_words

_ROLES: dict[type, str] = {Stack: "positions: ", Residual: "residual: ", PatchEmbedding: "pixels: "}


class Explanation(NamedTuple):
    """A batch walked through a model."""

    name: str
    """What the model is called."""
    batch: int
    """Samples."""
    steps: tuple[Step, ...]
    masks: tuple[Sight, ...]
    """Who sees whom, once for each attention that differs."""
    total: Step
    """The sums."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `patchword explain --json` prints it."""
        return {
            "name": self.name,
            "batch": self.batch,
            "steps": [step.to_dict() for step in self.steps],
            "masks": [mask.to_dict() for mask in self.masks],
            "total": self.total.to_dict(),
        }


def explained(name: str, model: ModelConfig, rehearsal: Rehearsal, one: Rehearsal, batch: int) -> Explanation:
    """Walk a batch through a model.

    Args:
        name: what to call it.
        model: the model's settings.
        rehearsal: the model, and the loss of `batch` samples.
        one: the same with a single sample, of which masks are drawn.
        batch: samples.

    Raises:
        UserError: the model chooses what it computes by numbers that it has computed.
    """
    watcher = Watcher(rehearsal.model)
    record = rehearsal.inference(lambda built: watcher.watch(lambda: rehearsal.loss(built)))
    told = _Teller(record, watcher, rehearsal.model, _alphabets(model, rehearsal.model, watcher.root, batch))
    total = Step("all", None, (), told.parameters, *told.sums(record.ops))
    return Explanation(name, batch, told.steps(), tuple(sight_of(one)), total)


def _alphabets(model: ModelConfig, built: nn.Module, root: Call, batch: int) -> dict[str, Alphabet]:
    """Letters, from how long each tower's sequence and the trunk's turned out."""
    tokens, inner = {}, {}
    for call in _all(root):
        part = _part(call.path)
        if call.path in (f"towers.{part}", "trunk") and call.shape is not None and len(call.shape) == 3:
            tokens[part] = call.shape[:2]
    for path, module in built.named_modules():
        if path.endswith("up_proj") and isinstance(module, nn.Linear):
            inner.setdefault(_part(path), module.out_features)
    return alphabets(model, batch, tokens, inner)


def _all(call: Call) -> Iterator[Call]:
    for part in call.parts:
        yield part
        yield from _all(part)


def _part(path: str) -> str:
    """The tower's name, `trunk`, or empty."""
    first, _, rest = path.partition(".")
    return rest.partition(".")[0] if first == "towers" else "trunk" if first == "trunk" else ""


class _Teller:
    """Makes steps of calls and of the operations between them."""

    def __init__(self, record: Record, watcher: Watcher, model: nn.Module, letters: dict[str, Alphabet]) -> None:
        self.record, self.watcher, self.letters = record, watcher, letters
        self.own = _owned(model, watcher.root)
        self.parameters = sum(p.numel() for p in model.parameters())

    def steps(self) -> tuple[Step, ...]:
        """The whole walk: what the model is given, its parts, and the loss of what it gives."""
        root = self.watcher.root
        made: list[Step] = []
        at = root.parts[0].start if root.parts else root.start
        for part in root.parts:  # one, where a task calls the model as a whole; its towers, where it does not
            made += self._between(root, at, part.start)
            whole = part.path == "model"
            made += [*self._inputs(part), *self._within(part, "")] if whole else [self._step(part, "")]
            at = part.end
        after, left = self._between(root, at, root.end), self.own.get(id(root), 0)
        if after or left:
            sums = self.sums(self.record.ops[at : root.end])
            made.append(Step("loss", (), (), left, *sums, parts=folded(after)))
        return folded([step for step in made if step != nothing(step)])

    def sums(self, ops: Iterable[Op]) -> tuple[int, int, int]:
        """Products, other arithmetic, bytes."""
        found = [(op.work.model, op.work.vector, op.read + op.written) for op in ops]
        return tuple(sum(column) for column in zip(*found, strict=True)) if found else (0, 0, 0)  # pyright: ignore

    def _within(self, call: Call, path: str) -> list[Step]:
        """What happens within a call, in order: calls of its parts, and its own operations between them."""
        made, at = [], call.start
        for part in call.parts:
            made += self._between(call, at, part.start)
            if part.path.rpartition(".")[2] == "step":  # what stands around it says it all
                made += self._within(part, part.path)
            else:
                made.append(self._step(part, path))
            at = part.end
        return made + self._between(call, at, call.end)

    def _step(self, call: Call, path: str) -> Step:
        name = call.path.removeprefix(f"{path}.") if path else call.path
        parts = [step for step in self._parts(call) if step != nothing(step)]
        parameters = self.own.get(id(call), 0) + sum(part.parameters for part in parts)
        sums = self.sums(self.record.ops[call.start : call.end])
        return Step(name, call.shape, self._named(call.path, call.shape), parameters, *sums, parts=folded(parts))

    def _parts(self, call: Call) -> list[Step]:
        if isinstance(call.module, Mechanism) and self._is_plain(call):
            return self._scores(call)
        return self._within(call, call.path) if call.parts or not self._is_plain(call) else []

    def _scores(self, call: Call) -> list[Step]:
        """What a kernel that does all in one has within, and never writes."""
        queries, keys = list(call.given.values())[:2]
        shape = (*queries[:3], keys[2])
        return [Step("scores, never kept", shape, self._named(call.path, shape), held=False)]

    def _is_plain(self, call: Call) -> bool:
        """Whether a call is a single thing: at most one of its operations computes products."""
        return sum(op.work.model > 0 for op in self.record.ops[call.start : call.end]) < 2

    def _inputs(self, call: Call) -> list[Step]:
        """What a model is given."""
        made = []
        for name, shape in call.given.items():
            known = replace(self.letters.get(name, self.letters[""]), widths={})  # an input is as long as it is
            letters = known.name(shape, pixels=len(shape) == 4)
            made.append(Step(f"{name} (input)", shape, letters, held=False))
        return made

    def _between(self, call: Call, start: int, end: int) -> list[Step]:
        """A call's own operations: one step for each that computes products, one for all between two such."""
        made, run = [], []
        for place in range(start, end):
            op = self.record.ops[place]
            if op.work.model:
                made += [*self._run(call, run), self._own(call, [place])]
                run = []
            else:
                run.append(place)
        return made + self._run(call, run)

    def _run(self, call: Call, places: list[int]) -> list[Step]:
        works = [place for place in places if self.record.ops[place].work.vector]
        return [self._own(call, works)] if works else []

    def _own(self, call: Call, places: list[int]) -> Step:
        ops = [self.record.ops[place] for place in places]
        shape = self.watcher.shapes[places[-1]]
        name = _role(call, places[0]) + in_words([op.name for op in ops])
        return Step(name, shape, self._named(call.path, shape), 0, *self.sums(ops))

    def _named(self, path: str, shape: Shape | None) -> tuple[str, ...]:
        letters = self.letters.get(_part(path), self.letters[""])
        return () if shape is None else letters.name(shape, pixels=".embedding" in path)


def _role(call: Call, place: int) -> str:
    """What a module's own operation is for, where its name does not say it."""
    looks = next((part for part in call.parts if isinstance(part.module, Mechanism)), None)
    if looks is not None:
        return "positions: " if place < looks.start else "gate: "
    return _ROLES.get(type(call.module), "")


def _owned(model: nn.Module, root: Call) -> dict[int, int]:
    """Parameters by the first call of the module that has them, or of the one around it; id of the call -> numbers."""
    first: dict[str, Call] = {}
    for call in _all(root):
        first.setdefault("" if call.path == "model" else call.path, call)
    owned: dict[int, int] = {}
    for path, parameter in model.named_parameters():
        while path and path not in first:
            path = path.rpartition(".")[0]
        call = first[path] if path else root
        owned[id(call)] = owned.get(id(call), 0) + parameter.numel()
    return owned
