"""What each kernel takes inside itself, as the interposer counts it, beside what the rules say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from benchmarks.sizing.interposer import Interposer
from patchword.sizing.workspaces import workspace_of


class Kernel(NamedTuple):
    """One distinct operation."""

    name: str
    """aten's own, with its overload."""
    arguments: str
    """Types, shapes and strides."""
    measured: int
    """Bytes that it took inside."""
    predicted: int | None
    """The same by rule; None: the rules say that it is not known."""


class Kernels(TorchDispatchMode):
    """Counts what each operation takes while it is active; see them twice, the first time fills caches."""

    def __init__(self, interposer: Interposer) -> None:
        super().__init__()
        self.interposer = interposer
        self.found: dict[tuple[str, str], Kernel] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        made: list[Any] = []
        taken = self.interposer.inside(lambda: made.append(func(*args, **kwargs)))
        inside = workspace_of(func, args, kwargs, made[0])
        predicted = None if inside is None else sum(inside)
        key = (str(func).removeprefix("aten."), str(tree_map_only(Tensor, _shape, (args, kwargs))))
        self.found[key] = Kernel(*key, taken, predicted)
        return made[0]


def _shape(tensor: Tensor) -> str:
    dtype = str(tensor.dtype).removeprefix("torch.")
    return f"{dtype}{list(tensor.shape)}" + ("" if tensor.is_contiguous() else f"/{tensor.stride()}")


def watched(step: Callable[[], object], interposer: Interposer) -> list[Kernel]:
    """The distinct operations of a step."""
    with Kernels(interposer) as kernels:
        step()
    return list(kernels.found.values())
