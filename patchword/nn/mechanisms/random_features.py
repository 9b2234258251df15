"""Random directions, and the positive features that Performers make of them (Choromanski et al. 2021).

B batch, S keys, H heads, G key/value heads, E head width, F features, M directions.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import torch
from torch import Tensor

from patchword.nn.mechanisms.sums import LOWEST


def draw(num: int, width: int, orthogonal: bool, seed: int, number: int) -> Tensor:
    """Normal directions, float64 [M, E] on the CPU: a function of `seed` and of the draw's `number` only.

    Orthogonal ones are so in blocks of E (the last may be cut), each row with the length of a normal vector of its own,
    so that every row by itself is as if drawn alone.
    """
    generator = torch.Generator().manual_seed(_mixed(seed, number))

    def normal(rows: int) -> Tensor:
        return torch.randn(rows, width, generator=generator, dtype=torch.float64, device="cpu")

    if not orthogonal:
        return normal(num)
    blocks = []
    for _ in range(-(-num // width)):
        q, r = torch.linalg.qr(normal(width))
        blocks.append((q * r.diagonal().sign()).T)  # without the signs, not every direction would be as likely
    return torch.cat(blocks)[:num] * normal(num).norm(dim=-1, keepdim=True)


def _mixed(seed: int, number: int) -> int:
    """Unrelated seeds: torch's CPU generator looks at 32 bits only, so both are mixed into them."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{number}".encode(), digest_size=4).digest())


class Exponential(NamedTuple):
    """Features exp(w . x), whose logarithms are kept in range without changing the result."""

    paired: bool = False
    """Whether each direction serves twice, as w and as -w."""
    gaussian: bool = True
    """Whether divided by exp(|x|^2 / 2): the product of two is then exp(x . y) on average."""

    def queries(self, q: Tensor, directions: Tensor, peak: Tensor) -> Tensor:
        """[B, H, T, E], [M, E] and the peaks of keys [B, H, 1, F] -> [B, H, T, F], the largest of each query 1.

        What is the same in all features of a query has no effect and is left out, so exp(-|q|^2 / 2), too.
        """
        logs = self._both(q @ directions.T).add_(peak)
        return logs.sub_(logs.detach().amax(-1, keepdim=True)).exp_()

    def logs(self, k: Tensor, directions: Tensor, seen: Tensor | None) -> Tensor:
        """Logarithms for keys, -inf for padding; [B, G, S, E], [M, E], bool [B or 1, 1, S, 1] -> [B, G, S, F]."""
        logs = self._both(k @ directions.T)
        if self.gaussian:
            logs.sub_(k.square().sum(-1, keepdim=True).div_(2))
        return logs if seen is None else logs.masked_fill_(~seen, -torch.inf)

    def _both(self, x: Tensor) -> Tensor:
        return torch.cat([x, -x], -1) if self.paired else x


def peaks(logs: Tensor) -> Tensor:
    """The largest over keys, at least `LOWEST`; [B, G, S, F] -> [B, G, 1, F]."""
    if logs.shape[2] == 0:
        return logs.new_full((*logs.shape[:2], 1, logs.shape[3]), LOWEST)
    return logs.detach().amax(2, keepdim=True).clamp_min_(LOWEST)
