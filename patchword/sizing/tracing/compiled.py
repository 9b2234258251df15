"""The memory of a compiled step: the very program that inductor writes is run, with its kernels left out.

`torch.compile` traces, joins, partitions and fuses a model as it always does; what comes out is a Python program that
allocates buffers, calls kernels on them and lets go of them. Kernels of its own are not compiled and do nothing;
all else (allocations, views, products by libraries) runs on tensors without contents, where the trace sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
from torch import nn
from torch._guards import active_fake_mode
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import _disable_current_modes

from patchword.config import UserError
from patchword.sizing.tracing.facts import Facts
from patchword.sizing.tracing.foreign import rehearsal_of_module
from patchword.sizing.tracing.record import Record
from patchword.sizing.tracing.rehearsal import Look, Rehearsal, Trainee
from patchword.sizing.tracing.tally import Name, Tally, tally
from patchword.sizing.tracing.trace import Tracer


def _nothing(*_: Any, **__: Any) -> None:
    """What stands for a kernel."""


def _view(tensor: torch.Tensor, shape: Any, stride: Any, offset: int = 0) -> torch.Tensor:
    return torch.as_strided(tensor, shape, stride, tensor.storage_offset() + offset)


@contextmanager
def kernels_left_out(mode: FakeTensorMode) -> Iterator[None]:
    """Inside, what inductor compiles for a CPU has no kernels, and its buffers have no contents.

    Args:
        mode: makes the buffers where no mode is at work, as while it compiles.
    """
    import torch._functorch.config as functorch
    import torch._inductor.config as inductor
    from torch._C._dynamo import guards
    from torch._dynamo import convert_frame
    from torch._dynamo.utils import counters
    from torch._inductor.async_compile import AsyncCompile

    def empty(shape: Any, stride: Any, dtype: torch.dtype) -> torch.Tensor:
        with mode if active_fake_mode() is None else nullcontext():
            return torch.empty_strided(shape, stride, dtype=dtype, device="cpu")

    def apart(*args: Any, **kwargs: Any) -> Any:
        with _disable_current_modes():
            return compile_frame(*args, **kwargs)

    compile_frame = convert_frame._compile
    with (
        patch.object(convert_frame, "_compile", apart),
        patch.object(AsyncCompile, "cpp_pybinding", lambda *_: _nothing),
        patch.object(guards, "assert_size_stride", _nothing),
        patch.object(guards, "assert_alignment", _nothing),
        patch.object(guards, "_empty_strided_cpu", empty),
        patch.object(guards, "_reinterpret_tensor", _view),
        functorch.patch(force_non_lazy_backward_lowering=True),
        inductor.patch(force_disable_caches=True),
    ):
        torch._dynamo.reset()
        counters.clear()
        try:
            yield
        finally:
            torch._dynamo.reset()


class _Mode(FakeTensorMode):
    """Inside it a compiled model stays compiled."""

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Yes."""
        return True


class _Tracer(Tracer):
    """Inside it a compiled model stays compiled, and torch does not compile what it does itself."""

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Yes."""
        return True

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Yes."""
        return True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return super().__torch_dispatch__(func, types, args, kwargs)


class _Facts(Facts):
    """torch does not compile what it does itself."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Yes."""
        return True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return super().__torch_dispatch__(func, types, args, kwargs)


def _check_whole() -> None:
    """Every module became one program each.

    Raises:
        UserError: one came in pieces, or none came at all.
    """
    from torch._dynamo.utils import counters

    breaks = [reason.split("\n")[0] for reason in counters["graph_break"]]
    if breaks or not counters["frames"]["ok"]:
        why = breaks[0] if breaks else "nothing was compiled"
        raise UserError(f"the compiled step cannot be sized: torch compiles it in pieces ({why}); size it eager")


class CompiledRehearsal(Rehearsal):
    """A model of which some modules are compiled (`module.compile()`), on a CPU.

    They compile in a pass of their own. Which module an operation belongs to is not known: the
    hooks that tell would be compiled, too.
    """

    mode_kind = _Mode
    facts_kind = _Facts

    def step(self, make: Callable[[nn.Module], Trainee]) -> Record:
        """As `Rehearsal.step`."""
        with kernels_left_out(self.mode):
            with self._without_looking(), self.facts:
                trainee = make(self.model.train())
                trainee.gradient()
                trainee.optimizer.zero_grad(set_to_none=True)
            _check_whole()
            return super().step(make)

    def inference(self, look: Look | None = None) -> Record:
        """As `Rehearsal.inference`."""
        with kernels_left_out(self.mode):
            with self._without_looking(), self.facts, torch.no_grad():
                (look or self.look)(self.model.eval())
            _check_whole()
            return super().inference(look)

    def _watcher(self) -> Tracer:
        return _Tracer(nn.Identity(), self.signatures, self.facts)


@contextmanager
def compiled_rehearsal_of_module(
    module: nn.Module, inputs: Sequence[Any] | Mapping[str, Any]
) -> Iterator[CompiledRehearsal]:
    """As `rehearsal_of_module`, of the module compiled as a whole."""
    with rehearsal_of_module(module, inputs, CompiledRehearsal, torch.compile(module)) as rehearsal:
        assert isinstance(rehearsal, CompiledRehearsal)
        yield rehearsal


def in_memory_of(found: Tally, compiled: Record, name: Name) -> Tally:
    """The sums of an eager step with the memory of a compiled one; what no module is known of is of the `step`."""
    moments = tally(compiled, lambda path: name(path) if path else "step").moments
    return found._replace(moments=moments)
