"""What happens to tensors on the way between two layouts. Each is a function of tensors that gradients pass through."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

Tensors = tuple[Tensor, ...]


class Transform(ABC):
    """Some tensors of theirs to some of ours."""

    invertible = True
    """Whether `back` gives what `to` took."""

    @abstractmethod
    def to(self, *theirs: Tensor) -> Tensors:
        """Theirs to ours."""

    def back(self, *ours: Tensor) -> Tensors:
        """Ours to theirs.

        Raises:
            NotImplementedError: it is not invertible.
        """
        raise NotImplementedError(f"{type(self).__name__} is not invertible")


class Same(Transform):
    """As they are."""

    def to(self, *theirs: Tensor) -> Tensors:
        """Theirs."""
        return theirs

    def back(self, *ours: Tensor) -> Tensors:
        """Ours."""
        return ours


class Turned(Transform):
    """Matrices the other way round; vectors as they are."""

    def to(self, *theirs: Tensor) -> Tensors:
        """[a, b] -> [b, a]."""
        return tuple(t.mT if t.ndim == 2 else t for t in theirs)

    back = to


class Split(Transform):
    """One tensor of equal parts, or of parts of given sizes, one after another along the first axis.

    Args:
        parts: how many, or their sizes.
    """

    def __init__(self, parts: int | Sequence[int]) -> None:
        self.parts = parts

    def to(self, *theirs: Tensor) -> Tensors:
        """The parts."""
        whole = theirs[0]
        if isinstance(self.parts, int):
            return whole.chunk(self.parts)
        return whole.split(list(self.parts))

    def back(self, *ours: Tensor) -> Tensors:
        """The whole."""
        return (torch.cat(ours),)


class Joined(Transform):
    """Several of theirs of one size, one after another along the first axis: one of ours."""

    def __init__(self, parts: int) -> None:
        self.parts = parts

    def to(self, *theirs: Tensor) -> Tensors:
        """The whole."""
        return (torch.cat(theirs),)

    def back(self, *ours: Tensor) -> Tensors:
        """The parts."""
        return ours[0].chunk(self.parts)


class SplitHeads(Transform):
    """One tensor in which each head has its parts together: [heads, parts, width, ...] to parts of [heads, width, ...].

    Args:
        num_heads: how many heads.
        parts: how many parts, 3 for queries, keys and values.
    """

    def __init__(self, num_heads: int, parts: int) -> None:
        self.num_heads, self.parts = num_heads, parts

    def to(self, *theirs: Tensor) -> Tensors:
        """The parts, each with all heads."""
        cut = theirs[0].unflatten(0, (self.num_heads, self.parts, -1))
        return tuple(part.flatten(0, 1) for part in cut.unbind(1))

    def back(self, *ours: Tensor) -> Tensors:
        """All in one, head by head."""
        return (torch.stack([part.unflatten(0, (self.num_heads, -1)) for part in ours], 1).flatten(0, 2),)


class Scaled(Transform):
    """Times what their program multiplies by and ours does not: a factor for each tensor."""

    def __init__(self, *factors: float) -> None:
        self.factors = factors

    def to(self, *theirs: Tensor) -> Tensors:
        """Multiplied."""
        return tuple(t * factor if factor != 1 else t for t, factor in zip(theirs, self.factors, strict=True))

    def back(self, *ours: Tensor) -> Tensors:
        """Divided."""
        return tuple(t / factor if factor != 1 else t for t, factor in zip(ours, self.factors, strict=True))


class Unwrapped(Transform):
    """Without `axes` axes of length 1 at the front, such as that of a batch."""

    def __init__(self, axes: int) -> None:
        self.axes = axes

    def to(self, *theirs: Tensor) -> Tensors:
        """[1, ..., n, m] -> [n, m]."""
        return tuple(t.reshape(t.shape[self.axes :]) for t in theirs)

    def back(self, *ours: Tensor) -> Tensors:
        """[n, m] -> [1, ..., n, m]."""
        return tuple(t.reshape(*[1] * self.axes, *t.shape) for t in ours)


class Alone(Transform):
    """A number by itself to a vector of one."""

    def to(self, *theirs: Tensor) -> Tensors:
        """[] -> [1]."""
        return (theirs[0].reshape(1),)

    def back(self, *ours: Tensor) -> Tensors:
        """[1] -> []."""
        return (ours[0].reshape(()),)


class Chain(Transform):
    """One after another, in the order of the way in."""

    def __init__(self, *steps: Transform) -> None:
        self.steps = steps
        self.invertible = all(step.invertible for step in steps)

    def to(self, *theirs: Tensor) -> Tensors:
        """Through all."""
        for step in self.steps:
            theirs = step.to(*theirs)
        return theirs

    def back(self, *ours: Tensor) -> Tensors:
        """Through all, from the last."""
        for step in reversed(self.steps):
            ours = step.back(*ours)
        return ours


SAME = Same()
