"""Where prepared pictures are kept between epochs: nowhere, in memory, or on disk.

A cache only saves time: what comes out is what was made, bit for bit. Entries are named by a digest of everything the
pixels depend on, so none goes stale; those that nobody asks for any more stay until their folder is deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import struct
import tempfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

_log = logging.getLogger(__name__)


class PictureCache(Protocol):
    """Keeps pictures: arrays uint8 of three dimensions."""

    def fetch(
        self, facts: tuple[object, ...], content: bytes | np.ndarray, make: Callable[[], np.ndarray]
    ) -> np.ndarray:
        """What `make` returns, or returned before for equal `facts` and `content`. Must not be written to.

        Args:
            facts: Plain values that the pixels depend on, besides the content.
            content: The picture that they are made from.
            make: Makes them.
        """
        ...


class NoCache:
    """Keeps nothing."""

    def fetch(
        self, facts: tuple[object, ...], content: bytes | np.ndarray, make: Callable[[], np.ndarray]
    ) -> np.ndarray:
        """What `make` returns."""
        return make()


class _NamedEntries(ABC):
    """Keeps pictures under names."""

    def fetch(
        self, facts: tuple[object, ...], content: bytes | np.ndarray, make: Callable[[], np.ndarray]
    ) -> np.ndarray:
        """What `make` returns, or returned before for equal `facts` and `content`. Must not be written to."""
        name = _entry_name(facts, content)
        pixels = self._get(name)
        if pixels is None:
            pixels = make()
            self._put(name, pixels)
        return pixels

    @abstractmethod
    def _get(self, name: str) -> np.ndarray | None: ...

    @abstractmethod
    def _put(self, name: str, pixels: np.ndarray) -> None: ...


def _entry_name(facts: tuple[object, ...], content: bytes | np.ndarray) -> str:
    if isinstance(content, np.ndarray):
        facts, content = (*facts, content.shape, content.dtype.str), content.tobytes()
    digest = hashlib.sha256(repr(facts).encode())
    digest.update(content)
    return digest.hexdigest()


class MemoryCache(_NamedEntries):
    """Keeps every picture in this process, without a limit (3 h w bytes each).

    A worker process has its own: it starts with what was there when it was forked (with nothing when it was spawned),
    fills by itself, and is gone with the worker. Together, workers may so hold a picture several times.
    """

    def __init__(self) -> None:
        self._entries: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __getstate__(self) -> dict[str, dict[str, np.ndarray]]:
        return {"_entries": {}}

    def _get(self, name: str) -> np.ndarray | None:
        return self._entries.get(name)

    def _put(self, name: str, pixels: np.ndarray) -> None:
        self._entries[name] = pixels.copy()  # not a view, which would keep the whole decoded file alive


_MAGIC = b"pwp1"
_HEADER = struct.Struct("<4sI")
"""Magic, CRC-32 of all that follows: the shape, the pixels."""
_SHAPE = struct.Struct("<III")


class DiskCache(_NamedEntries):
    """Keeps every picture as a file, without a limit; shared by all processes of this user.

    Files appear whole or not at all. A damaged one counts as missing and is made anew. When a file cannot be
    written (a full disk, a read-only folder), one warning is logged and this process writes no more.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writes = True

    def _get(self, name: str) -> np.ndarray | None:
        try:
            data = bytearray(self._path(name).read_bytes())
        except OSError:
            return None
        if len(data) < _HEADER.size + _SHAPE.size:
            return None
        magic, checksum = _HEADER.unpack_from(data)
        if magic != _MAGIC or zlib.crc32(memoryview(data)[_HEADER.size :]) != checksum:
            return None
        shape = _SHAPE.unpack_from(data, _HEADER.size)
        return np.frombuffer(data, np.uint8, offset=_HEADER.size + _SHAPE.size).reshape(shape)

    def _put(self, name: str, pixels: np.ndarray) -> None:
        if not self.writes:
            return
        path, body = self._path(name), _SHAPE.pack(*pixels.shape) + pixels.tobytes()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_whole(path, _HEADER.pack(_MAGIC, zlib.crc32(body)) + body)
        except OSError as error:
            self.writes = False
            _log.warning("no more pictures are cached in %s: %s", self.folder, error)

    def _path(self, name: str) -> Path:
        return self.folder / name[:2] / name[2:]


def _write_whole(path: Path, data: bytes) -> None:
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=".part-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def cache_folder() -> Path:
    """Where the disk cache lies: `$XDG_CACHE_HOME/patchword/pictures`, or under `~/.cache` (XDG base directories)."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():  # also when unset: the standard says to ignore relative ones
        base = Path("~/.cache").expanduser()
    return base / "patchword" / "pictures"


def open_cache(kind: str) -> PictureCache:
    """The cache of that name (`ImageConfig.cache`)."""
    return _CACHES[kind]()


_CACHES: dict[str, Callable[[], PictureCache]] = {
    "none": NoCache,
    "memory": MemoryCache,
    "disk": lambda: DiskCache(cache_folder()),
}
