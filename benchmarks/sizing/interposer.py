"""The second truth: a library between the process and its allocator that counts every byte (tally.c)."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_SOURCE = Path(__file__).with_name("tally.c")
_TENSOR, _LIBRARY, _PLAIN = range(3)


class Counted(NamedTuple):
    """Bytes while something ran."""

    before: int
    """Of tensors, when it began."""
    tensors: int
    """The most of tensors and of kernels that borrow their allocator, beyond those."""
    library: int
    """The most that libraries took beyond what they had (oneDNN's own)."""
    plain: int
    """The most of all else beyond what there was: nodes of the graph, Python's objects."""


def compiler() -> str | None:
    """The C compiler's path; None: there is none."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def compiled(folder: Path) -> Path:
    """The library, made in `folder`.

    Raises:
        RuntimeError: there is no C compiler, or it failed.
    """
    cc = compiler()
    if cc is None:
        raise RuntimeError("the malloc interposer needs a C compiler (cc, gcc or clang)")
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / "tally.so"
    new = folder / f"tally.{os.getpid()}.so"  # processes that run may hold the old one
    command = [cc, "-O2", "-shared", "-fPIC", "-fno-builtin", "-o", str(new), str(_SOURCE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    return new.replace(library)


def environment(library: Path) -> dict[str, str]:
    """Of a child that the library counts in."""
    return {**os.environ, "LD_PRELOAD": str(library), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}


class Interposer:
    """What the library in this process counts.

    Raises:
        RuntimeError: the process was started without it.
    """

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        if not hasattr(self._library, "tally_now"):
            raise RuntimeError("this process was not started with the interposer preloaded")
        for name in ("tally_now", "tally_most", "tally_refused"):
            getattr(self._library, name).restype = ctypes.c_int64
        self._library.tally_cap.argtypes = [ctypes.c_int64]

    def now(self) -> int:
        """Bytes of tensors."""
        return self._library.tally_now(_TENSOR)

    def count(self, run: Callable[[], object]) -> Counted:
        """The most bytes while it runs."""
        before = [self._library.tally_now(kind) for kind in range(3)]
        self._library.tally_mark()
        run()
        most = [self._library.tally_most(kind) - before[kind] for kind in range(3)]
        return Counted(before[_TENSOR], most[_TENSOR], most[_LIBRARY], most[_PLAIN])

    def inside(self, run: Callable[[], object]) -> int:
        """The most bytes of tensors while it runs, beyond those that are there when it is done."""
        self._library.tally_mark()
        run()
        return self._library.tally_most(_TENSOR) - self._library.tally_now(_TENSOR)

    def cap(self, run: Callable[[], object], bytes_: int) -> bool:
        """Whether it gets along with this many more bytes of tensors at any time."""
        self._library.tally_cap(self.now() + bytes_)
        try:
            run()
        except (RuntimeError, MemoryError):
            if not self._library.tally_refused():
                raise
        finally:
            refused = self._library.tally_refused()
            self._library.tally_cap(0)
        return not refused
