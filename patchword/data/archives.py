"""Folders, tars and zips behind one small interface; a member is read where it lies, nothing is ever extracted.

Archives can be pickled and forked: each process opens its own file on first use, and reads by position.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
import struct
import tarfile
import unicodedata
import weakref
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from patchword.config import UserError
from patchword.data.image import BadImage
from patchword.data.strings import Strings

MAX_BYTES = 1 << 30
"""Larger members are refused before they are read."""

_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_LOCAL_HEADER = struct.Struct("<4s22xHH")


class Archive(Protocol):
    """Named files that can be read in any order."""

    label: str
    """What a person knows it by."""

    @property
    def names(self) -> Strings:
        """The regular files in it, sorted, parts joined by `/`; hidden files are left out."""
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
                f"{path}: {name}-compressed, so its pictures cannot be read in any order; unpack it, or make a plain tar or zip"
            )
    return Zip(path) if head.startswith(_ZIP) else Tar(path)


def normal(name: str) -> str:
    """One spelling for a path in an archive: forward slashes, no `.` steps, composed letters."""
    return posixpath.normpath(unicodedata.normalize("NFC", name.strip().replace("\\", "/")))


def leads_out(name: str) -> bool:
    """Whether a normal name points outside of the place that it is relative to."""
    return name.startswith("/") or name.split("/", 1)[0] == ".."


def _hidden(name: str) -> bool:
    # zips made on a Mac hold a shadow file for each picture under __MACOSX
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/") if part not in (".", ".."))


class Folder:
    """The files under a folder; links are followed only where they stay in it."""

    def __init__(self, root: Path) -> None:
        self.label = str(root)
        self.root = os.path.realpath(root)

    @cached_property
    def names(self) -> Strings:
        """The regular files in it, found once, on first use."""
        return Strings(sorted(self._walk()))

    def _walk(self) -> Iterator[str]:
        for folder, folders, files in os.walk(self.root):
            folders[:] = [name for name in folders if not _hidden(name)]
            for file in files:
                path = os.path.join(folder, file)
                if not _hidden(file) and self._inside(os.path.realpath(path)) and os.path.isfile(path):
                    yield os.path.relpath(path, self.root)

    def _inside(self, real: str) -> bool:
        return os.path.commonpath([self.root, real]) == self.root

    def read(self, name: str) -> bytes:
        """The content of a file, relative to the folder or absolute but in it."""
        try:
            path = os.path.realpath(os.path.join(self.root, name))
            if not self._inside(path):
                raise BadImage("missing", f"{name}: leads out of {self.label}, which is not followed")
            # a pipe called a.jpg would block for ever without O_NONBLOCK
            with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise BadImage("missing", f"{name}: not a file in {self.label}")
                _check_size(name, status.st_size)
                return file.read()
        except PermissionError as error:
            raise BadImage("unreadable", f"{name}: {error.strerror} in {self.label}") from error
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
            raise BadImage("missing", f"{name}: not in {self.label} ({error})") from error


class Member(NamedTuple):
    """Where a file lies in an archive."""

    offset: int
    stored: int
    """Bytes that it takes there."""
    size: int
    """Bytes that it holds."""
    crc: int = 0
    deflated: bool = False


class _Packed:
    """Files that lie one after another in a larger file, read by position: threads and forks need no lock."""

    def __init__(self, path: Path, members: Mapping[str, Member]) -> None:
        names = sorted(name for name in members if not _hidden(name))
        self.label = str(path)
        self.path = path.resolve()
        self.names = Strings(names)
        self._where = np.array([members[name] for name in names], dtype=np.int64).reshape(-1, len(Member._fields))

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_file"}

    @cached_property
    def _file(self) -> int:
        file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, file)
        return file

    def _at(self, name: str) -> Member:
        index = self.names.find(name)
        if index is None:
            raise BadImage("missing", f"{name}: not in {self.label}")
        member = Member(*self._where[index].tolist())
        _check_size(name, member.size)
        return member

    def _bytes(self, name: str, offset: int, count: int) -> bytes:
        try:
            data = os.pread(self._file, count, offset)
        except OSError as error:
            raise BadImage("unreadable", f"{name}: {error.strerror} in {self.label}") from error
        if len(data) != count:
            raise BadImage("truncated", f"{name}: {self.label} ends in the middle of it")
        return data


class Tar(_Packed):
    """A plain tar (ustar, GNU or pax); hard links are read as the file that they link to, other links are not."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _tar_members(path))

    def read(self, name: str) -> bytes:
        """The content of a member."""
        member = self._at(name)
        return self._bytes(name, member.offset, member.stored)


class Zip(_Packed):
    """A zip whose members are stored or deflated."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _zip_members(path))

    def read(self, name: str) -> bytes:
        """The content of a member, its checksum verified."""
        member = self._at(name)
        magic, *lengths = _LOCAL_HEADER.unpack(self._bytes(name, member.offset, _LOCAL_HEADER.size))
        data = self._bytes(name, member.offset + _LOCAL_HEADER.size + sum(lengths), member.stored)
        if member.deflated:
            with contextlib.suppress(zlib.error):  # damage shows in the checksum
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, member.size + 1)
        if magic != _ZIP[0] or len(data) != member.size or zlib.crc32(data) != member.crc:
            raise BadImage("truncated", f"{name}: damaged in {self.label} (wrong checksum)")
        return data


def _check_size(name: str, size: int) -> None:
    if size > MAX_BYTES:
        raise BadImage("too many pixels", f"{name}: {size} bytes, more than {MAX_BYTES}")


def _tar_members(path: Path) -> dict[str, Member]:
    members: dict[str, Member] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for info in tar:
                if info.isreg() and not info.issparse():
                    members[info.name] = Member(info.offset_data, info.size, info.size)
                elif info.islnk() and info.linkname in members:
                    members[info.name] = members[info.linkname]
            end = tar.offset
    except (tarfile.TarError, OSError, ValueError) as error:
        raise UserError(f"{path}: not a tar or zip that can be read ({error})") from error
    # tarfile takes a damaged header for the end of the archive
    with path.open("rb") as file:
        file.seek(end)
        if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise UserError(f"{path}: damaged or cut short after {len(members)} files, at byte {end}")
    return members


def _zip_members(path: Path) -> dict[str, Member]:
    methods = {zipfile.ZIP_STORED: False, zipfile.ZIP_DEFLATED: True}
    members: dict[str, Member] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UserError(f"{path}: a damaged zip, or cut short ({error})") from error
    for info in infos:
        if info.is_dir() or stat.S_ISLNK(info.external_attr >> 16):
            continue
        if info.flag_bits & 1:
            raise UserError(f"{path}: {info.filename} is encrypted; unpack the zip first")
        if info.compress_type not in methods:
            raise UserError(
                f"{path}: {info.filename} is packed by method {info.compress_type}; only stored and deflated can be read"
            )
        members[info.filename] = Member(
            info.header_offset, info.compress_size, info.file_size, info.CRC, methods[info.compress_type]
        )
    return members
