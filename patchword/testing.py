"""The contract of attention mechanisms, for anyone who writes one: `check_mechanism(MyAttentionConfig)`.

A law is a function of a `Subject` (a stack with random weights) that raises `AssertionError` where it does not hold.
None knows a mechanism: each compares a stack with itself on inputs that must give the same. A mechanism that approximates
softmax obeys them as exactly as softmax does. `LAWS` names them all, `laws_for` those that a case can be asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from patchword.cache import StackCache
from patchword.config import (
    AttentionConfig,
    ConfigError,
    LearnedPositionConfig,
    NoPositionConfig,
    PositionConfig,
    RotaryPositionConfig,
    SinusoidalPositionConfig,
    StackConfig,
)
from patchword.nn import Stack
from patchword.nn.positions import Places
from patchword.sequence import SequenceInfo, Tokens, positions_of

MEMORY_DIM = 12
PLACES, GRID = Places(extent=(16,)), Places(extent=(5, 4), axes=2, special=True)
TOLERANCE = {torch.float64: (1e-9, 1e-9), torch.float32: (1e-4, 1e-4)}


def randomise(module: nn.Module, generator: torch.Generator) -> None:
    """Give every parameter of `module` random values in place, so that no law holds because of a zero or a one."""
    with torch.no_grad():
        for parameter in module.parameters():
            shape = parameter.shape
            values = torch.randn(shape, generator=generator, dtype=torch.float64)
            if parameter.ndim > 1:  # large enough that attention is far from uniform
                parameter.copy_(values * 1.5 / shape[-1] ** 0.5)
            else:
                parameter.copy_(parameter.double().cpu() * (1 + 0.2 * values) + 0.2 * values)


@dataclass(frozen=True)
class Case:
    """One shape of stack, and the numbers that it runs in."""

    stack: StackConfig
    """With or without `cross_attention`; the laws give it a memory where it looks at one."""
    grid: bool = False
    """Whether its tokens stand in rows and columns, the first at the special place -1."""
    dtype: torch.dtype = torch.float64
    device: str = "cpu"
    seed: int = 0

    @property
    def mechanisms(self) -> list[AttentionConfig]:
        """The attention of the case: to its own sequence, to a memory."""
        return [a for a in (self.stack.attention, self.stack.cross_attention) if a is not None]


class Subject:
    """A case with random weights, and the random tokens and memory that laws try it on."""

    def __init__(self, case: Case) -> None:
        self.case, self.config = case, case.stack
        self.generator = torch.Generator().manual_seed(case.seed)
        places = GRID if case.grid else PLACES
        self.stack = Stack(case.stack, places, MEMORY_DIM if case.stack.cross_attention is not None else None)
        randomise(self.stack, self.generator)
        self.stack.to(device=case.device, dtype=case.dtype).eval()
        self.memory = Tokens(self.random(8, 5, MEMORY_DIM))

    def random(self, *shape: int) -> Tensor:
        """Normal numbers."""
        return torch.randn(shape, generator=self.generator, dtype=torch.float64).to(self.case.device, self.case.dtype)

    def chance(self, share: float, *shape: int) -> Tensor:
        """True in this share of the places; bool."""
        return (torch.rand(shape, generator=self.generator) < share).to(self.case.device)

    def tokens(self, batch: int, length: int) -> Tensor:
        """Random tokens; [B, T, D]."""
        return self.random(batch, length, self.config.dim)

    def places(self, rank: Tensor) -> Tensor | None:
        """Where the n-th real tokens stand; int [B, T] -> [B, T, 2], or None where they stand one after another."""
        if not self.case.grid:
            return None
        grid = torch.stack([(rank * 3) % 5, (rank * 2 + rank // 4) % 4], -1)
        return torch.where(rank[..., None] == 0, -1, grid)

    def run(
        self,
        x: Tensor,
        valid: Tensor | None = None,
        *,
        order: Tensor | None = None,
        memory: Tokens | None = None,
        cache: StackCache | None = None,
        skip: int = 0,
    ) -> Tensor:
        """The stack's output. `skip` tokens come before `x` in the cache (their rank matters on a grid only)."""
        rank = positions_of(torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if valid is None else valid)
        info = SequenceInfo(valid=valid, pos=self.places(rank + skip), order=order)
        return self.stack(Tokens(x, info), self.look(x.shape[0], memory), cache)

    def look(self, batch: int, memory: Tokens | None = None) -> Tokens | None:
        """The memory for a batch, where the stack looks at one; row i is always the same."""
        if self.config.cross_attention is None:
            return None
        return Tokens(self.memory.x[:batch]) if memory is None else memory

    def variant(self, **changes: Any) -> Subject:
        """Another subject whose stack differs in these settings."""
        return Subject(replace(self.case, stack=self.config.replace(**changes)))

    def close(self, got: Tensor, want: Tensor, what: str = "") -> None:
        """Fail unless both are equal within the tolerance of their type."""
        atol, rtol = TOLERANCE[self.case.dtype]
        torch.testing.assert_close(got, want, atol=atol, rtol=rtol, msg=lambda text: f"{what}\n{text}")


Law = Callable[[Subject], None]
LAWS: dict[str, tuple[Law, Callable[[Case], bool]]] = {}
