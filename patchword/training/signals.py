"""Being asked to stop: Ctrl-C (SIGINT) and SIGTERM."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping(BaseException):
    """Raised inside `StopSignals.interruptible`. Not an Exception: no broad handler may swallow it."""


def write_plainly(text: str) -> None:
    """The text on standard error by a bare write, which disturbs nothing that it interrupts."""
    os.write(2, f"\n{text}\n".encode())


class StopSignals:
    """While entered, the first signal only asks to stop; a second does what signals did before: it stops at once.

    Outside the main thread, where Python allows no handlers, signals keep doing what they did.

    Args:
        answer: tells a person that the signal was heard; may not print, for the interrupted code may be printing.
    """

    def __init__(self, answer: Callable[[str], None] = write_plainly) -> None:
        self.answer = answer
        self.asked: str | None = None
        """Name of the signal that came; None: none did."""
        self._interruptible = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._handle) for s in _SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Work inside may be left at any point: the first signal raises `Stopping` there."""
        self._interruptible = True
        try:
            if self.asked:
                raise Stopping
            yield
        finally:
            self._interruptible = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.asked is not None:
            self._restore()
            signal.raise_signal(number)
            return
        self.asked = signal.Signals(number).name
        self.answer(f"{self.asked}: finishing this step, then saving; once more stops at once")
        if self._interruptible:
            raise Stopping

    def _restore(self) -> None:
        before: dict[signal.Signals, Callable[..., Any] | int | None] = self._before
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._before = {}
