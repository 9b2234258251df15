"""Which module was called after which, on what, and what each gave: the tree of calls of one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack
from torch.utils._pytree import tree_leaves

from patchword.sizing.tracing.record import Op
from patchword.sizing.tracing.trace import Tracer

Shape = tuple[int, ...]


@dataclass
class Call:
    """One call of a module."""

    path: str
    module: nn.Module
    start: int
    """Place of its first operation in the record."""
    given: dict[str, Shape]
    """Shapes of the tensors that it is given: by name where they come in a mapping, else by place."""
    end: int = 0
    """Place after its last operation."""
    shape: Shape | None = None
    """Of the first tensor that it gives."""
    parts: list[Call] = field(default_factory=list)
    """Calls within it, in order."""


class Watcher(TorchDispatchMode):
    """Writes the calls and the shape of every operation's result down while it is active.

    A tracer must be active around it: places are those of its record.

    Args:
        model: the model that is watched.
        meet: is told of each module and what it is called with, before it runs.
    """

    def __init__(self, model: nn.Module, meet: Callable[[nn.Module, str, Any], None] | None = None) -> None:
        super().__init__()
        self.root = Call("", nn.Module(), 0, {})
        self.shapes: list[Shape | None] = []
        """Of each operation's first result, by place."""
        self._open, self._meet = [self.root], meet
        self._ops: list[Op] = []
        self._handles: list[Any] = []
        for path, module in model.named_modules():
            name = path or "model"
            self._handles.append(module.register_forward_pre_hook(self._enter(name)))
            self._handles.append(module.register_forward_hook(self._leave, always_call=True))

    def watch(self, run: Callable[[], Any]) -> Any:
        """What `run` gives, watched."""
        (tracer,) = (mode for mode in _get_current_dispatch_mode_stack() if isinstance(mode, Tracer))
        self._ops = tracer.record.ops
        try:
            with self:
                out = run()
        finally:
            for handle in self._handles:
                handle.remove()
        self.root.end = len(self._ops)
        return out

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        new = len(self._ops) - len(self.shapes)  # none: a question; several: it was taken apart
        self.shapes += [_first(out)] * new
        return out

    def _enter(self, path: str) -> Callable[[nn.Module, Any], None]:
        def enter(module: nn.Module, args: Any) -> None:
            if self._meet is not None:
                self._meet(module, path, args)
            call = Call(path, module, len(self._ops), _given(args))
            self._open[-1].parts.append(call)
            self._open.append(call)

        return enter

    def _leave(self, _: nn.Module, __: Any, out: Any) -> None:
        call = self._open.pop()
        call.end, call.shape = len(self._ops), _first(out)


def _given(args: tuple[Any, ...]) -> dict[str, Shape]:
    first = args[0] if args else None
    if isinstance(first, Mapping):
        return {str(name): shape for name, value in first.items() if (shape := _first(value)) is not None}
    shapes = [tuple(leaf.shape) for leaf in tree_leaves(args) if isinstance(leaf, Tensor)]
    return {str(place): shape for place, shape in enumerate(shapes)}


def _first(tree: Any) -> Shape | None:
    return next((tuple(leaf.shape) for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)), None)
