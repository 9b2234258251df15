"""Which module an operation belongs to, in the forward and in the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from patchword.nn.regions import GRADIENT

_MARK = "patchword.module"
_SHY = (nn.TransformerEncoderLayer, nn.MultiheadAttention)
"""Modules that leave their fast path when they, or modules in them, have hooks."""


class Places:
    """Follows a model: `here()` is the path of the innermost module at work; empty: none.

    A module marks the nodes of the graph that its forward made, so that the backward pass finds its way back. What runs
    forward while a backward pass is under way is computed again (activation checkpointing).
    """

    def __init__(self, model: nn.Module) -> None:
        self.stack: list[tuple[str, list[Any]]] = []
        self._handles: list[Any] = []
        hidden: list[str] = []
        for path, module in model.named_modules():
            if isinstance(module, _SHY) or any(path.startswith(f"{outer}." if outer else "") for outer in hidden):
                hidden.append(path)
                self._handles.append(_Wrapped(module, self._enter(path), self._leave(path)))
            else:
                self._handles.append(module.register_forward_pre_hook(self._enter(path)))
                self._handles.append(module.register_forward_hook(self._leave(path), always_call=True))

    def _enter(self, path: str) -> Callable[[nn.Module, Any], None]:
        def enter(_: nn.Module, args: Any) -> None:
            self.stack.append((path, _nodes(args)))

        return enter

    def _leave(self, path: str) -> Callable[[nn.Module, Any, Any], None]:
        def leave(_: nn.Module, __: Any, out: Any) -> None:
            given = self.stack.pop()[1]
            _mark(_nodes(out), {id(node) for node in given}, path)

        return leave

    def here(self) -> tuple[str, bool, bool]:
        """Path, whether a backward pass is under way, and whether something is computed again within it."""
        backward = torch._C._current_graph_task_id() != -1
        if self.stack:
            return self.stack[-1][0], backward, backward
        if not backward:
            return "", False, False
        node: Any = torch._C._current_autograd_node()
        again = torch.is_grad_enabled()  # gradients have none of their own; what makes a graph runs forward
        return (node.metadata.get(_MARK, "") if node is not None else ""), True, again

    def close(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()


class Regions:
    """Follows stretches of work that have a name (nn/regions.py)."""

    def __init__(self) -> None:
        self._names: list[str] = []

    def pass_mark(self, func: Any, args: Any) -> None:
        """A region begins or ends."""
        if func is torch.ops.profiler._record_function_enter_new.default:
            self._names.append(args[0])
        elif self._names:
            self._names.pop()

    def gradient(self) -> bool:
        """Whether gradients are computed within a forward pass."""
        return GRADIENT in self._names


class _Wrapped:
    """What hooks do, without a hook."""

    def __init__(self, module: nn.Module, enter: Callable[..., None], leave: Callable[..., None]) -> None:
        self.module, self.own, inner = module, module.__dict__.get("forward"), module.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            out = None
            enter(module, args)
            try:
                out = inner(*args, **kwargs)
            finally:
                leave(module, args, out)
            return out

        module.forward = forward

    def remove(self) -> None:
        """The module's forward is its own again."""
        del self.module.forward
        if self.own is not None:
            self.module.forward = self.own


def _nodes(tree: Any) -> list[Any]:
    """The nodes of the graph that these tensors come from; held, they keep their identity."""
    return [leaf.grad_fn for leaf in tree_leaves(tree) if isinstance(leaf, Tensor) and leaf.grad_fn is not None]


def _mark(start: list[Any], given: set[int], path: str) -> None:
    """All nodes from these back to what the module was given, but for those that an inner module marked already."""
    todo, seen = list(start), set()
    while todo:
        node = todo.pop()
        if node is None or id(node) in given or id(node) in seen or type(node).__name__ == "AccumulateGrad":
            continue
        seen.add(id(node))
        if _MARK in node.metadata and node.metadata[_MARK] != path and not node.metadata[_MARK].startswith(f"{path}."):
            continue  # of another module: an input that came beside the arguments
        node.metadata.setdefault(_MARK, path)
        todo += [before for before, _ in node.next_functions]
