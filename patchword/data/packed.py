"""Tars and zips: one pass makes the index, then each member is read where it lies."""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
import struct
import tarfile
import weakref
import zipfile
import zlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from patchword.config import UserError
from patchword.data.decode import BadImage
from patchword.data.paths import hidden, tidy
from patchword.data.strings import Strings

MAX_BYTES = 1 << 30
"""Larger files are refused before they are read."""

ZIP = (b"PK\x03\x04", b"PK\x05\x06")
"""How zips begin."""

_LOCAL_HEADER = struct.Struct("<4s22xHH")


def check_size(size: int) -> None:
    """Refuse a file that would fill the memory.

    Raises:
        BadImage: it has more than `MAX_BYTES`.
    """
    if size > MAX_BYTES:
        raise BadImage("unreadable", f"{size} bytes, more than the {MAX_BYTES} that a file may have")


class Member(NamedTuple):
    """Where a file lies in an archive."""

    offset: int
    stored: int
    """Bytes that it takes there."""
    size: int
    """Bytes that it holds."""
    crc: int = 0
    deflated: bool = False


class Packed:
    """Files that lie one after another in a larger file, read by position: threads and forks need no lock."""

    def __init__(self, path: Path, members: Mapping[str, Member]) -> None:
        # tars of `.` name their members `./a.jpg`; the names only find bytes in here, so any spelling is safe
        members = {tidy(name): member for name, member in members.items() if not hidden(name)}
        names = sorted(members)
        end = path.stat().st_size
        cut = next((name for name in names if members[name].offset + members[name].stored > end), None)
        if cut is not None:
            raise UserError(f"{path}: damaged or cut short: {cut} would end beyond the end of the file")
        self.label = str(path)
        self.path = path.resolve()
        self.names = Strings(names)
        self._where = np.array([members[name] for name in names], dtype=np.int64).reshape(-1, len(Member._fields))

    def has(self, name: str) -> bool:
        """Whether there is a member of that name."""
        return self.names.find(name) is not None

    def beside(self, name: str) -> list[str]:
        """The members in the same folder."""
        folder = posixpath.dirname(name)
        return [other for other in self.names if posixpath.dirname(other) == folder]

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
            raise BadImage("missing", f"not in {self.label}")
        member = Member(*self._where[index].tolist())
        check_size(member.size)
        return member

    def _bytes(self, offset: int, count: int) -> bytes:
        try:
            data = os.pread(self._file, count, offset)
        except OSError as error:
            raise BadImage("unreadable", f"{error.strerror} in {self.label}") from error
        if len(data) != count:
            raise BadImage("truncated", f"{self.label} ends in the middle of it")
        return data


class Tar(Packed):
    """A plain tar (ustar, GNU or pax); hard links are read as the file that they link to, other links are not."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _tar_members(path))

    def read(self, name: str) -> bytes:
        """The content of a member."""
        member = self._at(name)
        return self._bytes(member.offset, member.stored)


class Zip(Packed):
    """A zip whose members are stored or deflated."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, _zip_members(path))

    def read(self, name: str) -> bytes:
        """The content of a member, its checksum verified."""
        member = self._at(name)
        magic, *lengths = _LOCAL_HEADER.unpack(self._bytes(member.offset, _LOCAL_HEADER.size))
        data = self._bytes(member.offset + _LOCAL_HEADER.size + sum(lengths), member.stored)
        if member.deflated:
            with contextlib.suppress(zlib.error):  # damage shows in the checksum
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, member.size + 1)
        if magic != ZIP[0] or len(data) != member.size or zlib.crc32(data) != member.crc:
            raise BadImage("unreadable", f"damaged in {self.label} (wrong checksum)")
        return data


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
        raise UserError(f"{path}: not a tar or zip that can be read, nor a table by its name ({error})") from error
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
                f"{path}: {info.filename} is packed by method {info.compress_type}; only stored and deflated are read"
            )
        size = min(info.file_size, MAX_BYTES + 1)
        deflated = methods[info.compress_type]
        members[info.filename] = Member(info.header_offset, info.compress_size, size, info.CRC, deflated)
    return members
