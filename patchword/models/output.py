"""What a model gives: the same fields for every task, never a loss."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from patchword.sequence import Tokens


class ModelOutput(NamedTuple):
    """The outcome of a forward pass."""

    trunk: Tokens | None
    """The reader's tokens after the trunk, [B, T, D]; None: the model has no trunk."""
    towers: dict[str, Tokens]
    """Each tower's tokens, by name."""
    heads: dict[str, Tensor]
    """What each head reads off, by name."""
