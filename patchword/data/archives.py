"""Folders, tars and zips behind one small interface; a member is read where it lies, nothing is ever extracted.

Archives can be pickled and forked: each process opens its own file on first use, and reads by position.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from patchword.config import UserError
from patchword.data.decode import BadImage
from patchword.data.packed import ZIP, Tar, Zip, check_size
from patchword.data.paths import hidden
from patchword.data.strings import Strings

_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


class Archive(Protocol):
    """Named files that can be read in any order."""

    label: str
    """What a person knows it by."""

    @property
    def names(self) -> Strings:
        """The regular files in it, sorted, parts joined by `/`; hidden files are left out."""
        ...

    def has(self, name: str) -> bool:
        """Whether a file of that name can be read."""
        ...

    def beside(self, name: str) -> list[str]:
        """The files in the same folder of it as `name`, whether that one is there or not."""
        ...

    def read(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            BadImage: it is missing, leads out of the archive, or is damaged.
        """
        ...


def open_archive(path: Path) -> Archive:
    """The folder, tar or zip at `path`, whichever it is.

    Raises:
        UserError: it is neither, is damaged, or cannot be read in any order (compressed tars).
    """
    if path.is_dir():
        return Folder(path)
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    for magic, name in _COMPRESSED.items():
        if head.startswith(magic):
            raise UserError(
                f"{path}: {name}-compressed, so its files cannot be read in any order; make it a plain tar or a zip"
            )
    return Zip(path) if head.startswith(ZIP) else Tar(path)


class Folder:
    """The files under a folder; links are followed only where they stay in it."""

    def __init__(self, root: Path) -> None:
        self.label = str(root)
        self.root = os.path.realpath(root)
        self._names: Strings | None = None

    @property
    def names(self) -> Strings:
        """The regular files in it, found once, on first use."""
        if self._names is None:
            self._names = Strings(sorted(self._walk()))
        return self._names

    def _walk(self) -> Iterator[str]:
        for folder, folders, files in os.walk(self.root):
            folders[:] = [name for name in folders if not hidden(name)]
            inner = "" if folder == self.root else os.path.relpath(folder, self.root) + "/"
            for file in files:
                path = os.path.join(folder, file)
                out = os.path.islink(path) and not self._inside(os.path.realpath(path))
                if not (out or hidden(file)) and os.path.isfile(path):
                    yield inner + file

    def _inside(self, real: str) -> bool:
        return os.path.commonpath([self.root, real]) == self.root

    def has(self, name: str) -> bool:
        """Whether a file of that name can be read."""
        try:
            path = os.path.realpath(os.path.join(self.root, name))
            return self._inside(path) and os.path.isfile(path)
        except (OSError, ValueError):  # too long a name, or a zero byte in it
            return False

    def beside(self, name: str) -> list[str]:
        """The files in the same folder, without listing any other."""
        folder = posixpath.dirname(name)
        path = os.path.join(self.root, folder)
        if not os.path.isdir(path):
            return []
        return sorted(file for other in os.listdir(path) if self.has(file := posixpath.join(folder, other)))

    def read(self, name: str) -> bytes:
        """The content of a file, relative to the folder or absolute but in it."""
        try:
            path = os.path.realpath(os.path.join(self.root, name))
            if not self._inside(path):
                raise BadImage("missing", f"leads out of {self.label}, which is not followed")
            # a pipe called a.jpg would block for ever without O_NONBLOCK
            with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise BadImage("missing", f"not a file in {self.label}")
                check_size(status.st_size)
                return file.read()
        except PermissionError as error:
            raise BadImage("unreadable", f"{error.strerror} in {self.label}") from error
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
            raise BadImage("missing", f"not in {self.label}") from error
