"""Stretches of work with a name, which profilers show and sizing understands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.autograd.profiler import record_function

GRADIENT = "gradient"

_listeners: list[Callable[[bool], None]] = []


class gradient(record_function):  # noqa: N801 - used like a function
    """Inside, gradients are computed although a forward pass is under way."""

    def __init__(self) -> None:
        super().__init__(GRADIENT)

    def __enter__(self) -> gradient:
        super().__enter__()
        for listener in _listeners:
            listener(True)
        return self

    def __exit__(self, *error: Any) -> None:
        for listener in _listeners:
            listener(False)
        super().__exit__(*error)


@contextmanager
def heard(listener: Callable[[bool], None]) -> Iterator[None]:
    """Meanwhile the listener is told when a stretch of gradients begins (True) and ends."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
