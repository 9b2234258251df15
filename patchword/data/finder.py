"""Which file of an archive a table means by a picture's name."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable
from functools import cached_property
from typing import Protocol

from patchword.config import UserError
from patchword.data.archives import Archive, Folder
from patchword.data.paths import normal, tidy

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif")
"""How names of pictures end; only to tell them from other files, tables may name any file."""


def is_picture(name: str) -> bool:
    """Whether a name looks like a picture's."""
    return name.lower().endswith(PICTURES)


class Finder(Protocol):
    """Turns names of pictures in a table into names in an archive."""

    archive: Archive

    def find(self, name: str, near: str = "") -> str:
        """The file that `name` means; where there is none, the name that it would have. Of several, one in `near`.

        Raises:
            UserError: it could mean several files.
        """
        ...

    def pictures(self) -> Iterable[str]:
        """The pictures that a table may name."""
        ...


_NUMBERED = re.compile(r"(?:.*_)?0*(\d+)")


class SearchFinder:
    """Finds pictures by path, or by the end of it: `a.jpg` finds `Images/a.jpg` where it is the only one.

    A name without ending finds the picture called so: `7` finds `7.png`, and `COCO_train2014_000000000007.jpg`.
    """

    def __init__(self, archive: Archive, prefix: str = "") -> None:
        self.archive = archive
        self._prefix = prefix
        self._whole = {normal(name): name for name in archive.names if name.startswith(prefix)}
        self._by_end: dict[str, list[str]] = defaultdict(list)
        for name in self._whole:
            self._by_end[posixpath.basename(name)].append(name)

    def find(self, name: str, near: str = "") -> str:
        """The very path that `name` is, else the one path that ends with it, else the one picture called so."""
        wanted = normal(name)
        for exact in (self._prefix + wanted, wanted):
            if exact in self._whole:
                return self._whole[exact]
        likely = self._by_end.get(posixpath.basename(wanted), [])
        fits = [path for path in likely if path.endswith("/" + wanted)] or self._called(wanted)
        fits = [path for path in fits if near and path.startswith(near + "/")] or fits
        if len(fits) > 1:
            raise UserError(
                f"picture {name!r} could be {fits[0]!r} or {fits[1]!r} of {self.archive.label}: "
                "name it by its path in the table, or choose the folder with data.images="
            )
        return self._whole[fits[0]] if fits else self._prefix + wanted

    def _called(self, wanted: str) -> list[str]:
        """Pictures whose name without its ending is this; where none is, and it is a number, whose name ends in it."""
        if "." in posixpath.basename(wanted):
            return []
        found = [path for path in self._stems.get(posixpath.basename(wanted), []) if _ends(_stem(path), wanted)]
        return found or self._numbers.get(wanted, [])

    @cached_property
    def _stems(self) -> dict[str, list[str]]:
        stems: dict[str, list[str]] = defaultdict(list)
        for path in filter(is_picture, self._whole):
            stems[posixpath.basename(_stem(path))].append(path)
        return stems

    @cached_property
    def _numbers(self) -> dict[str, list[str]]:
        numbers: dict[str, list[str]] = defaultdict(list)
        for stem, paths in self._stems.items():
            match = _NUMBERED.fullmatch(stem)
            if match:
                numbers[match[1]] += paths
        return numbers

    def pictures(self) -> Iterable[str]:
        """Everything in the archive that looks like a picture."""
        return filter(is_picture, self._whole.values())


class DirectFinder:
    """Pictures by their path relative to a folder that is never listed, for it may hold anything."""

    def __init__(self, folder: Folder) -> None:
        self.archive: Archive = folder

    def find(self, name: str, near: str = "") -> str:
        """That very path."""
        del near
        return tidy(name)

    def pictures(self) -> Iterable[str]:
        """None: the folder is not the table's own."""
        return ()


def _stem(path: str) -> str:
    return posixpath.splitext(path)[0]


def _ends(path: str, end: str) -> bool:
    return path == end or path.endswith("/" + end)
