"""A training step of one of many ranks under FSDP2, on tensors without contents and a process group without processes.

`fully_shard` (Zhao et al. 2023; torch.distributed.fsdp) runs as it does in earnest, over a made-up group of any number
of ranks: each block gathers its parameters before it computes and scatters its gradients after. What a real rank holds
at the peak, this one holds.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import torch
import torch.distributed as dist
import torch.distributed._tools.fake_collectives
from torch import Tensor, nn
from torch._guards import active_fake_mode
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._sharding_prop import ShardingPropagator
from torch.testing._internal.distributed.fake_pg import FakeStore

from patchword.config import UserError
from patchword.sizing.tracing.facts import Facts
from patchword.sizing.tracing.record import Block, Record
from patchword.sizing.tracing.rehearsal import Loss, MakeOptimizer, Rehearsal, Trainee
from patchword.sizing.tracing.trace import Tracer

_VIEW = "FSDP2-wrapped module .* returned a view tensor"  # nothing here changes it in place

_c10d: Any = torch.ops.c10d


def shard(model: nn.Module, unit: type[nn.Module], mesh: DeviceMesh) -> None:
    """Each module of class `unit` becomes one unit of gathering, and what is left of the model another."""
    for module in list(model.modules()):
        if isinstance(module, unit):
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)


def sharded_step(
    build: Callable[[], nn.Module],
    loss: Loss,
    make_optimizer: MakeOptimizer,
    ranks: int,
    unit: type[nn.Module],
    clip: bool = True,
    gloo: bool = False,
) -> tuple[nn.Module, Record]:
    """The model, and what rank 0 of `ranks` does and holds in its second step; each rank has a batch of its own.

    Args:
        build: makes the whole model.
        loss: of one rank's batch, a scalar.
        make_optimizer: gets the sharded model.
        ranks: how many, at least 2.
        unit: the class of the modules that are gathered one at a time.
        clip: whether gradients are clipped.
        gloo: whether to count the copies that gloo, the CPU's backend, makes inside its collectives; NCCL makes none.

    Raises:
        UserError: there are fewer than 2 ranks, the model looks at values, or this process is a rank of a real group.
    """
    if ranks < 2:
        raise UserError(f"sharding: needs at least 2 ranks, got {ranks}; one rank holds everything")
    with _made_up_group(ranks), warnings.catch_warnings():
        warnings.filterwarnings("ignore", _VIEW)
        mesh = init_device_mesh("cpu", (ranks,))
        rehearsal = _Sharded(build, loss, unit, mesh, gloo)
        return rehearsal.model, rehearsal.training(make_optimizer, clip)


@contextmanager
def _made_up_group(ranks: int) -> Iterator[None]:
    if dist.is_initialized():
        raise UserError("sharding cannot be sized inside a rank of a process group: size it in a process of its own")
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=ranks)
    try:
        yield
    finally:
        dist.destroy_process_group()


class _Sharded(Rehearsal):
    """A rehearsal of a sharded model."""

    def __init__(
        self, build: Callable[[], nn.Module], loss: Loss, unit: type[nn.Module], mesh: DeviceMesh, gloo: bool
    ) -> None:
        super().__init__(build, loss)
        self.gloo = gloo
        with self.mode:
            shard(self.model, unit, mesh)

    def step(self, make: Callable[[nn.Module], Trainee]) -> Record:
        """Not the first: what FSDP makes once and then empties and fills is there."""
        with self._without_looking():
            before = make(self.model.train())
            before.gradient()
            before.optimizer.zero_grad(set_to_none=True)
        return super().step(make)

    def _tracer(self) -> Tracer:
        tracer = _ShardTracer(self.model, self.mode, self.gloo)
        for name, parameter in self.model.named_parameters():
            tracer.meet(parameter, "parameters", name)
        for name, buffer in self.model.named_buffers():
            tracer.meet(buffer, "buffers", name)
        return tracer


class _ShardTracer(Tracer):
    """Sees the local tensors of distributed ones, and what collectives gather and copy."""

    def __init__(self, model: nn.Module, mode: FakeTensorMode, gloo: bool) -> None:
        super().__init__(model, facts=Facts(mode))
        self.mode, self.gloo = mode, gloo
        self._laying_out = False

    def __enter__(self) -> Self:
        """Watch; but for how a distributed result is laid out, which is tried on whole tensors that are never there."""
        self._lay_out = ShardingPropagator._propagate_tensor_meta_non_cached

        def lay_out(self_: ShardingPropagator, op_schema: Any) -> Any:
            before, self._laying_out = self._laying_out, True
            try:
                return self._lay_out(self_, op_schema)
            finally:
                self._laying_out = before

        ShardingPropagator._propagate_tensor_meta_non_cached = lay_out  # pyright: ignore[reportAttributeAccessIssue]
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        ShardingPropagator._propagate_tensor_meta_non_cached = self._lay_out
        super().__exit__(*error)

    def meet(self, tensor: Tensor, category: str, module: str = "") -> None:
        """A tensor that is there before anything runs; of a distributed one, this rank's part."""
        super().meet(_local(tensor), category, module)

    def name(self, tensor: Tensor, category: str) -> None:
        """Say what a tensor that was made meanwhile is."""
        super().name(_local(tensor), category)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented  # it takes itself apart into operations on local tensors, which come here again
        if self._laying_out or active_fake_mode() is not self.mode:
            return func(*args, **(kwargs or {}))
        if func is torch.ops._c10d_functional.wait_tensor.default:  # its stand-in would copy
            return args[0]
        out = super().__torch_dispatch__(func, types, args, kwargs)
        if self.gloo:
            self._copied(func, args)
        return out

    def _copied(self, func: Any, args: Any) -> None:
        """Gloo gathers into a flat buffer of its own, and sums in a copy of what is scattered."""
        if func is _c10d._allgather_base_.default:
            whole = args[0]
        elif func is _c10d._reduce_scatter_base_.default:
            whole = args[1]
        else:
            return
        place = len(self.record.ops) - 1
        size = whole.numel() * whole.element_size()
        self.record.blocks.append(Block(size, self.record.ops[place].module, place, place + 1, "workspaces"))


def _local(tensor: Tensor) -> Tensor:
    return tensor._local_tensor if isinstance(tensor, DTensor) else tensor
