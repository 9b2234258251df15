"""Stretches of work with a name, which profilers show and sizing understands."""

from __future__ import annotations

from torch.autograd.profiler import record_function

GRADIENT = "gradient"


def gradient() -> record_function:
    """Inside, gradients are computed although a forward pass is under way."""
    return record_function(GRADIENT)
