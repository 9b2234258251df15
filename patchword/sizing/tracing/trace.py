"""One run of a model on tensors without contents, written down operation by operation."""

from __future__ import annotations

import weakref
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from patchword.sizing.flops import work_of
from patchword.sizing.tracing.dispatched import (
    is_composite,
    is_ordinary,
    is_view,
    name_of,
    parts_of,
    tensors_in,
    uncompiled_flex,
)
from patchword.sizing.tracing.facts import Facts, asked
from patchword.sizing.tracing.places import Places, Regions
from patchword.sizing.tracing.record import BACKWARD, FORWARD, OPTIMIZER, Block, Op, Record
from patchword.sizing.tracing.signature import signature_of
from patchword.sizing.workspaces import reserve_of, workspace_of


class Tracer(TorchDispatchMode):
    """Writes every operation and every storage down while it is active.

    Args:
        model: the model whose modules operations are told by.
        signatures: whether to write down what makes each operation distinct for its time.
        facts: how operations run where tensors have no contents; None: they have, and all runs as it is.
    """

    supports_higher_order_operators = True

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: nothing is compiled here, and the guard against it takes time at every operation."""
        return False

    def __init__(self, model: nn.Module, signatures: bool = False, facts: Facts | None = None) -> None:
        super().__init__()
        self.signatures, self.facts = signatures, facts
        self.record = Record()
        self.places = Places(model)
        self.optimizing = False
        self._known: dict[int, int] = {}
        self._regions = Regions()

    def meet(self, tensor: Tensor, category: str, module: str = "") -> None:
        """A tensor that is there before anything runs."""
        self._meet(tensor, module, -1, category)

    def name(self, tensor: Tensor, category: str) -> None:
        """Say what a tensor that was made meanwhile is."""
        self.record.blocks[self._known[tensor.untyped_storage()._cdata]].category = category

    def __enter__(self) -> Self:
        """Watch; also what goes past the dispatcher: FSDP resizes storages, checkpointing keeps a generator's state."""
        self._resize, self._rng_state = torch.UntypedStorage.resize_, torch.get_rng_state
        torch.UntypedStorage.resize_ = self._watched_resize()
        torch.get_rng_state = self._watched_rng_state
        self._flex = uncompiled_flex(True)
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        torch.UntypedStorage.resize_, torch.get_rng_state = self._resize, self._rng_state
        uncompiled_flex(self._flex)
        super().__exit__(*error)

    def _watched_rng_state(self) -> Tensor:
        state = self._rng_state()
        self._meet(state, self.places.here()[0], len(self.record.ops), "")
        return state

    def _watched_resize(self) -> Any:
        def resize_(storage: torch.UntypedStorage, size: int) -> None:
            self._resize(storage, size)
            if storage._cdata in self._known:
                self._resized(storage, len(self.record.ops))

        return resize_

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.namespace == "prim":
            return asked(func, args, kwargs)
        if func.namespace == "profiler":
            self._regions.pass_mark(func, args)
        if is_composite(func):
            return self._opened(func, args, kwargs)
        module, backward, again = self.places.here()
        backward = backward or self._regions.gradient()
        signature = signature_of(func, args, kwargs) if self.signatures else ""
        out = func(*args, **kwargs) if self.facts is None else self.facts.run(func, args, kwargs)
        phase = OPTIMIZER if self.optimizing else BACKWARD if backward else FORWARD
        place = len(self.record.ops)
        made = tensors_in(out)
        work = work_of(func, args, kwargs, out)
        view = is_view(func)
        read = 0 if view else sum(_bytes(tensor) for tensor in tensors_in((args, kwargs)))
        written = 0 if view else sum(_bytes(tensor) for tensor in made)
        self.record.ops.append(Op(name_of(func), module, phase, again, work, read, written, signature))
        for tensor in made:
            self._meet(tensor, module, place, "")
        if is_ordinary(func, (args, kwargs, out)):
            self._look_inside(func, args, kwargs, out)
        return out

    def _opened(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What an operation is composed of, each watched."""
        super().__enter__()
        try:
            return func.decompose(*args, **kwargs)
        finally:
            super().__exit__(None, None, None)

    def _look_inside(self, func: Any, args: Any, kwargs: Any, out: Any) -> None:
        """What the kernel takes while it runs, and what it keeps in an output without a size (workspaces/)."""
        place = len(self.record.ops) - 1
        inside = workspace_of(func, args, kwargs, out)
        if inside is None:
            self.record.unknown[self.record.ops[place].name] += 1
        else:
            for size, category in zip(inside, ("workspaces", "libraries"), strict=True):
                if size:
                    self.record.blocks.append(Block(size, self.record.ops[place].module, place, place + 1, category))
        reserve = reserve_of(func, args, kwargs, out)
        if reserve is not None and reserve[0] is not None and not reserve[0].untyped_storage().nbytes():
            self.record.blocks[self._known[reserve[0].untyped_storage()._cdata]].size = reserve[1]

    def _meet(self, tensor: Tensor, module: str, place: int, category: str) -> None:
        if tensor.layout != torch.strided:  # made of others, which have storages
            for part in parts_of(tensor):
                self._meet(part, module, place, category)
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            self._resized(storage, place)
        else:
            self._known[key] = len(self.record.blocks)
            self.record.blocks.append(Block(storage.nbytes(), module, place, category=category))
            weakref.finalize(storage, self._end, key)

    def _resized(self, storage: torch.UntypedStorage, place: int) -> None:
        """A storage that is of another size than it was ends, and another one begins in its place."""
        before, size = self.record.blocks[self._known[storage._cdata]], storage.nbytes()
        if size != before.size:
            before.died = place
            self._known[storage._cdata] = len(self.record.blocks)
            self.record.blocks.append(Block(size, before.module, place, category=before.category))

    def _end(self, key: int) -> None:
        index = self._known.pop(key, None)
        if index is not None:
            self.record.blocks[index].died = len(self.record.ops)

    def close(self) -> None:
        """Take the hooks off the model."""
        self.places.close()


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
