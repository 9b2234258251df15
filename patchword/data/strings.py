"""Many strings in little memory."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np


class Strings(Sequence[str]):
    """A sequence of strings, held as one block of bytes.

    A list of a million captions costs a worker process its own copy, for reading a Python string writes its
    reference count; these bytes stay shared after a fork, and go to a new process as two blocks.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        # names of files may hold bytes that are no UTF-8, which Python keeps as lone surrogates
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        self._bytes = b"".join(encoded)
        self._ends = np.cumsum([0, *map(len, encoded)], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} of {len(self)} strings")
        index %= len(self)
        start, end = int(self._ends[index]), int(self._ends[index + 1])
        return self._bytes[start:end].decode("utf-8", "surrogatepass")

    def find(self, text: str) -> int | None:
        """Where `text` is among strings that are sorted; None: nowhere."""
        place = bisect_left(self, text)
        return place if place < len(self) and self[place] == text else None
