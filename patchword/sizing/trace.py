"""One run of a model on tensors without contents, written down operation by operation."""

from __future__ import annotations

import weakref
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from patchword.sizing.flops import work_of
from patchword.sizing.places import Places
from patchword.sizing.record import BACKWARD, FORWARD, OPTIMIZER, Block, Op, Record
from patchword.sizing.signature import signature_of


class Tracer(TorchDispatchMode):
    """Writes every operation and every storage down while it is active.

    Args:
        model: the model whose modules operations are told by.
        signatures: whether to write down what makes each operation distinct for its time.
    """

    def __init__(self, model: nn.Module, signatures: bool = False) -> None:
        super().__init__()
        self.signatures = signatures
        self.record = Record()
        self.places = Places(model)
        self.optimizing = False
        self._known: dict[int, int] = {}

    def meet(self, tensor: Tensor, category: str, module: str = "") -> None:
        """A tensor that is there before anything runs."""
        self._meet(tensor, module, -1, category)

    def name(self, tensor: Tensor, category: str) -> None:
        """Say what a tensor that was made meanwhile is."""
        self.record.blocks[self._known[tensor.untyped_storage()._cdata]].category = category

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.namespace == "prim":  # asks for a fact about a tensor
            return func(*args, **kwargs)
        module, backward, again = self.places.here()
        signature = signature_of(func, args, kwargs) if self.signatures else ""
        out = func(*args, **kwargs)
        phase = OPTIMIZER if self.optimizing else BACKWARD if backward else FORWARD
        place = len(self.record.ops)
        made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        work = work_of(func, args, kwargs, out)
        read = 0 if func.is_view else sum(_bytes(leaf) for leaf in tree_leaves((args, kwargs)))
        written = 0 if func.is_view else sum(_bytes(leaf) for leaf in made)
        self.record.ops.append(Op(str(func.overloadpacket), module, phase, again, work, read, written, signature))
        for tensor in made:
            self._meet(tensor, module, place, "")
        return out

    def _meet(self, tensor: Tensor, module: str, place: int, category: str) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        self._known[key] = len(self.record.blocks)
        self.record.blocks.append(Block(storage.nbytes(), module, place, category=category))
        weakref.finalize(storage, self._end, key)

    def _end(self, key: int) -> None:
        index = self._known.pop(key, None)
        if index is not None:
            self.record.blocks[index].died = len(self.record.ops)

    def close(self) -> None:
        """Take the hooks off the model."""
        self.places.close()


def _bytes(leaf: Any) -> int:
    return leaf.numel() * leaf.element_size() if isinstance(leaf, Tensor) else 0
