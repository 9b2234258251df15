"""While a model is sized its tensors have no contents, but for the facts of a batch: what a model decides by is known.

Who is padding, which token is of which tower, which groups of tokens look at which: a model may choose what it computes
by such whole numbers, so they are kept and computed for real. They are small; numbers of the size of pairs of tokens,
or of pictures, are not.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_map

from patchword.sizing.tracing.dispatched import tensors_in
from patchword.sizing.tracing.remembered import Remembered

MOST = 2**20
"""Numbers in a tensor of facts."""
_LITERALS = frozenset({torch.ops.aten.lift_fresh.default, torch.ops.aten.lift_fresh_copy.default})
_FACTS = frozenset({torch.bool, torch.int32, torch.int64})
_FOLLOWING = _FACTS | {torch.float64}
"""What may follow from facts: a place between two sequences is computed in float64."""


class Facts(TorchDispatchMode):
    """Runs operations without contents, facts for real; as a mode of its own where nobody watches.

    Args:
        mode: in which tensors have no contents; it is at work around this.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: nothing is compiled here, and the guard against it takes time at every operation."""
        return False

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """A compiled model stays compiled inside it."""
        return True

    def __init__(self, mode: FakeTensorMode) -> None:
        super().__init__()
        self.mode, self.remembered = mode, Remembered(mode)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return asked(func, args, kwargs or {}) if func.namespace == "prim" else self.run(func, args, kwargs or {})

    def run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """`func(*args, **kwargs)`; the result has contents where it is a fact that follows from facts alone."""
        given = tensors_in((args, kwargs))
        facts = [leaf for leaf in given if not isinstance(leaf, FakeTensor)]
        if facts and func in _LITERALS and facts[0].dtype not in _FACTS:
            return func(*args, **kwargs)  # it may have contents all the same: an optimizer counts its steps so
        if facts and len(facts) == len(given) and _numel(facts) <= MOST:
            with _disable_current_modes():
                out = func(*args, **kwargs)
            return out if _are_facts(out, _FOLLOWING) else self._without_contents(out)
        if facts:
            args, kwargs = self._without_contents(args), self._without_contents(kwargs)
        out = self.remembered.run(func, args, kwargs)
        if given or not _are_facts(out):
            return out
        with _disable_current_modes():
            return func(*args, **kwargs)

    def _without_contents(self, tree: Any) -> Any:
        return tree_map(self._blank, tree)

    def _blank(self, leaf: Any) -> Any:
        is_fact = isinstance(leaf, Tensor) and not isinstance(leaf, FakeTensor)
        return self.mode.from_tensor(leaf, static_shapes=True) if is_fact else leaf


def asked(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """A fact about a tensor, most often its device; at every operation, so it is answered here."""
    known = func is torch.ops.prim.device.default and isinstance(args[0], FakeTensor)
    return args[0].fake_device if known else func(*args, **kwargs)


def blank(tensor: Tensor, mode: FakeTensorMode) -> Tensor:
    """A new tensor of this shape, on the CPU; with its contents where it holds facts and has some."""
    if tensor.dtype in _FACTS and tensor.numel() <= MOST and tensor.device.type != "meta":
        return tensor.detach()
    with mode:
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu")


def _numel(tensors: list[Tensor]) -> int:
    """Numbers of what comes of these, if each meets each as broadcasting has it."""
    try:
        return prod(torch.broadcast_shapes(*(t.shape for t in tensors)))
    except RuntimeError:  # they do not meet so: a gather, a product
        return max(t.numel() for t in tensors)


def _are_facts(out: Any, kinds: frozenset[torch.dtype] = _FACTS) -> bool:
    made = tensors_in(out)
    return all(leaf.dtype in kinds and leaf.numel() <= MOST for leaf in made)
