"""Pictures that a table or a file of arrays holds itself."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from patchword.data.decode import BadImage
from patchword.data.strings import Strings


class HeldPictures:
    """Files in memory by name, as one block of bytes that processes share after a fork."""

    def __init__(self, label: str, files: Mapping[str, bytes]) -> None:
        self.label = label
        names = sorted(files)
        self._names = Strings(names)
        self._bytes = b"".join(files[name] for name in names)
        self._ends = np.cumsum([0, *(len(files[name]) for name in names)], dtype=np.int64)

    def read(self, name: str) -> bytes:
        """A file."""
        place = self._names.find(name)
        if place is None:
            raise BadImage("missing", f"not in {self.label}")
        return self._bytes[int(self._ends[place]) : int(self._ends[place + 1])]
