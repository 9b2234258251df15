"""The kinds of optimizers. Each is built from groups of parameters, as `patchword.training.optim` makes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from patchword.config import MuonConfig, OptimizerConfig, SGDConfig, implements

Group = dict[str, Any]
"""`params`, their `rate` and `weight_decay`, and whether they are `inner`: matrices of maps within blocks."""


@implements(OptimizerConfig)
def adamw(config: OptimizerConfig, groups: Sequence[Group]) -> torch.optim.AdamW:
    """AdamW; one kernel on CUDA, and on a CPU four times as fast as the others, and as deterministic."""
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=True)


@implements(SGDConfig)
def sgd(config: SGDConfig, groups: Sequence[Group]) -> torch.optim.SGD:
    """Steps along the gradient."""
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, fused=True)


@implements(MuonConfig)
class Muon(torch.optim.AdamW):
    """AdamW, but for matrices of maps within blocks.

    Of such a matrix, the running mean of the gradient is brought close to the nearest matrix whose singular values are
    all 1 (Jordan et al. 2024; by the polynomials of Amsel et al. 2025), in fp32, matrices of one shape together.
    """

    def __init__(self, config: MuonConfig, groups: Sequence[Group]) -> None:
        for group in groups:
            if group["inner"]:
                group["rate"] *= config.matrix_lr / config.lr
        self.momentum, self.iterations = config.momentum, config.iterations
        super().__init__(groups, lr=config.lr, betas=config.betas, eps=config.eps, fused=True)

    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step."""
        every = self.param_groups
        try:
            self.param_groups = [group for group in every if not group["inner"]]
            found = super().step(closure) if self.param_groups else None
        finally:
            self.param_groups = every
        for group in every:
            if group["inner"]:
                self._move(group)
        return found

    @torch.no_grad()
    def _move(self, group: Group) -> None:
        alike: dict[tuple[int, int], list[Tensor]] = {}
        for parameter in group["params"]:
            if parameter.grad is not None:
                alike.setdefault((min(parameter.shape), max(parameter.shape)), []).append(parameter)
        for shape, parameters in alike.items():
            wide = torch.stack([self._followed(p) if p.shape == shape else self._followed(p).T for p in parameters])
            for parameter, step in zip(parameters, orthogonal(wide, self.iterations).unbind(), strict=True):
                rows, columns = parameter.shape
                scale = group["lr"] * max(1.0, rows / columns) ** 0.5
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(step if parameter.shape == shape else step.T, alpha=scale)

    def _followed(self, parameter: Tensor) -> Tensor:
        """The gradient, drawn towards its running mean (Nesterov's momentum)."""
        assert parameter.grad is not None
        state = self.state[parameter]
        if not state:
            state["mean"] = torch.zeros_like(parameter)
        mean = state["mean"].lerp_(parameter.grad, 1 - self.momentum)
        return parameter.grad.lerp(mean, self.momentum)


POLAR_EXPRESS = (
    (8.28721201814563, -23.595886519098837, 17.300387312530933),
    (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
    (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
    (3.3184196573706015, -2.488488024314874, 0.51004894012372),
    (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
    (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
)
"""Factors of s, s^3 and s^5, step by step: the best for singular values from 0.001 to 1 (Amsel et al. 2025)."""
_LAST = (1.875, -1.25, 0.375)  # what they tend to


def orthogonal(x: Tensor, iterations: int) -> Tensor:
    """Wide matrices [..., n, m], n <= m, with their singular values brought near 1 by as many polynomials of degree 5.

    All of them are polynomials of x x^T, [n, n]: they are multiplied there, and with x once, at the end.
    """
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    gram, product = x @ x.mT, None
    for i in range(iterations):
        first, third, fifth = POLAR_EXPRESS[i] if i < len(POLAR_EXPRESS) else _LAST
        factor = third * gram + fifth * (gram @ gram)
        factor.diagonal(dim1=-2, dim2=-1).add_(first)
        product = factor if product is None else factor @ product
        if i + 1 < iterations:
            gram = factor @ gram @ factor
    assert product is not None
    return product @ x
