"""What the laws of the contract are tried on: a stack with random weights, and random input for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from patchword.cache import StackCache
from patchword.config import AttentionConfig, StackConfig
from patchword.nn import Stack
from patchword.nn.positions import Places
from patchword.sequence import SequenceInfo, Tokens, positions_of

MEMORY_DIM, MEMORY_LEN = 12, 5
LINE, GRID = Places(extent=(16,)), Places(extent=(5, 4), axes=2, special=True)
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}


@dataclass(frozen=True)
class Case:
    """One shape of stack, and the numbers that it runs in."""

    stack: StackConfig
    """With or without `cross_attention`; the laws give it a memory where it looks at one."""
    grid: bool = False
    """Whether its tokens stand in rows and columns, the first of them at the special place -1."""
    dtype: torch.dtype = torch.float64
    device: str = "cpu"
    seed: int = 0
    name: str = "case"

    @property
    def own(self) -> AttentionConfig | None:
        """How tokens look at their own sequence."""
        return self.stack.attention

    @property
    def cross(self) -> AttentionConfig | None:
        """How they look at a memory."""
        return self.stack.cross_attention

    @property
    def causal(self) -> bool:
        """Whether a token sees nothing after itself."""
        return self.own is not None and self.own.causal

    def able(self, *wants: str) -> bool:
        """Whether all of its mechanisms can do all of this."""
        return all(set(wants) <= a.can for a in (self.own, self.cross) if a is not None)


def randomise(module: nn.Module, generator: torch.Generator) -> None:
    """Give every parameter of `module` random values in place, so that no law holds because of a zero or a one."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            values = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if parameter.ndim > 1:  # so large that attention is far from uniform
                parameter.copy_(values * 1.5 / parameter.shape[-1] ** 0.5)
            else:
                parameter.copy_(0.3 * values + (0 if name.endswith("bias") else 1))  # offsets around 0, gains around 1


class Subject:
    """A case with random weights, and the random tokens and memory that laws try it on."""

    def __init__(self, case: Case) -> None:
        self.case, self.config = case, case.stack
        self.generator = torch.Generator().manual_seed(case.seed)
        self.stack = Stack(case.stack, GRID if case.grid else LINE, MEMORY_DIM if case.cross is not None else None)
        randomise(self.stack, self.generator)
        self.stack.to(device=case.device, dtype=case.dtype).eval()
        self.memory = self.random(8, MEMORY_LEN, MEMORY_DIM)

    def variant(self, **changes: Any) -> Subject:
        """Another subject whose stack differs in these settings."""
        return Subject(replace(self.case, stack=self.config.replace(**changes)))

    # ------------------------------------------------------------------ input

    def random(self, *shape: int) -> Tensor:
        """Normal numbers."""
        return torch.randn(shape, generator=self.generator, dtype=torch.float64).to(self.case.device, self.case.dtype)

    def tokens(self, batch: int, length: int) -> Tensor:
        """Random tokens; [B, T, D]."""
        return self.random(batch, length, self.config.dim)

    def chance(self, share: float, *shape: int) -> Tensor:
        """True in this share of the places; bool."""
        return (torch.rand(shape, generator=self.generator) < share).to(self.case.device)

    def ints(self, values: Sequence[Any]) -> Tensor:
        """A tensor of whole numbers (or booleans) where the subject lives."""
        return torch.tensor(values, device=self.case.device)

    def facts(self, batch: int, length: int, valid: Tensor | None = None, order: Tensor | None = None) -> SequenceInfo:
        """What is known of tokens that stand one after another; on a grid also where, by their rank."""
        if not self.case.grid:
            return SequenceInfo(valid=valid, order=order)
        everywhere = torch.ones(batch, length, dtype=torch.bool, device=self.case.device)
        return SequenceInfo(valid, self.on_grid(positions_of(everywhere if valid is None else valid)), order)

    def on_grid(self, rank: Tensor) -> Tensor:
        """Where the n-th real tokens stand; int [B, T] -> [B, T, 2]."""
        spots = torch.stack([(rank * 3) % 5, (rank * 2 + rank // 4) % 4], -1)
        return torch.where(rank[..., None] == 0, -1, spots)

    def look(self, batch: int) -> Tokens | None:
        """What a batch looks at beside itself, where it does; row i is the same in every batch."""
        return Tokens(self.memory[:batch]) if self.case.cross is not None else None

    # ------------------------------------------------------------------ output

    def run(
        self,
        x: Tensor,
        info: SequenceInfo | None = None,
        memory: Tokens | None = None,
        cache: StackCache | None = None,
    ) -> Tensor:
        """The stack's output; without facts the tokens are all real and stand one after another."""
        info = self.facts(x.shape[0], x.shape[1]) if info is None else info
        return self.stack(Tokens(x, info), self.look(len(x)) if memory is None else memory, cache)

    def close(self, got: Tensor, want: Tensor, what: str) -> None:
        """Fail unless both are equal within the tolerance of their type."""
        tolerance = TOLERANCE[self.case.dtype]
        torch.testing.assert_close(got, want, atol=tolerance, rtol=tolerance, msg=lambda text: f"{what}: {text}")

    def differ(self, a: Tensor, b: Tensor, what: str) -> None:
        """Fail if both are equal: a law that compares must have something to see."""
        if a.numel() and (a - b).abs().max().item() < 1e-4:
            raise AssertionError(f"{what}: nothing changed")


def require(holds: bool, what: str) -> None:
    """Fail unless it holds; unlike `assert`, also under `python -O`."""
    if not holds:
        raise AssertionError(what)


def cut(info: SequenceInfo, start: int, end: int) -> SequenceInfo:
    """The facts about tokens start ... end - 1."""
    return SequenceInfo(*(None if fact is None else fact[:, start:end] for fact in info))
