"""Several folders, tars or zips as one."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping

from patchword.data.archives import Archive
from patchword.data.decode import BadImage
from patchword.data.strings import Strings


class SeveralArchives:
    """Archives under names of their own: file `x` of the archive `train-00` is `train-00/x`, or `train/images/x`."""

    def __init__(self, label: str, archives: Mapping[str, Archive]) -> None:
        self.label = label
        self._archives = dict(archives)
        self.names = Strings(sorted(f"{key}/{name}" for key, archive in archives.items() for name in archive.names))

    def has(self, name: str) -> bool:
        """Whether a file of that name can be read."""
        key = self._key(name)
        return key is not None and self._archives[key].has(name[len(key) + 1 :])

    def beside(self, name: str) -> list[str]:
        """The files in the same folder."""
        folder = posixpath.dirname(name)
        return [other for other in self.names if posixpath.dirname(other) == folder]

    def read(self, name: str) -> bytes:
        """The content of a file."""
        key = self._key(name)
        if key is None:
            raise BadImage("missing", f"not in {self.label}")
        return self._archives[key].read(name[len(key) + 1 :])

    def _key(self, name: str) -> str | None:
        parts = name.split("/")
        return next((key for n in (1, 2) if (key := "/".join(parts[:n])) in self._archives), None)
