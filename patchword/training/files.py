"""Files and folders that a power cut, a kill or a full disk leaves either whole or as they were before."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHECKSUMS = "checksums.json"
_NEW, _OLD = ".tmp-", ".old-"


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yields a temporary folder to fill; it then gets checksums, reaches the disk, and takes the name `path`.

    Whatever had that name stays until then. When anything fails, the temporary folder is removed.

    Raises:
        OSError: the disk is full, or not writable.
    """
    new, old = path.with_name(_NEW + path.name), path.with_name(_OLD + path.name)
    shutil.rmtree(new, ignore_errors=True)
    try:
        new.mkdir(parents=True)
        yield new
        write_checksums(new)
        for inside in [*new.rglob("*"), new]:
            _sync(inside)
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            path.rename(old)
        new.rename(path)
        _sync(path.parent)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        if old.exists() and not path.exists():
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Replace a file's text; a reader sees all of the old or all of the new."""
    new = path.with_name(_NEW + path.name)
    try:
        new.write_text(text, encoding="utf-8")
        _sync(new)
        new.replace(path)
        _sync(path.parent)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def recover(folder: Path) -> None:
    """Clear up what a killed process left half done: drop what was not finished, put back what was being replaced."""
    for left in folder.glob(_NEW + "*"):
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    for left in folder.glob(_OLD + "*"):
        path = left.with_name(left.name.removeprefix(_OLD))
        shutil.rmtree(left) if path.exists() else left.rename(path)


def is_leftover(path: Path) -> bool:
    """Whether this is something that `recover` deals with."""
    return path.name.startswith((_NEW, _OLD))


def write_checksums(folder: Path) -> None:
    """Note the SHA-256 of every file below `folder` in its `checksums.json`."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != CHECKSUMS)
    sums = {p.relative_to(folder).as_posix(): _sha256(p) for p in files}
    (folder / CHECKSUMS).write_text(json.dumps({"sha256": sums}, indent=2) + "\n", encoding="utf-8")


def damage(folder: Path) -> str | None:
    """What is wrong with a folder that `whole_folder` made: a file that is missing or changed; None: nothing."""
    try:
        sums = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))["sha256"]
        for name, expected in sums.items():
            if not (folder / name).is_file():
                return f"{name} is missing"
            if _sha256(folder / name) != expected:
                return f"{name} is damaged (its checksum does not hold)"
    except FileNotFoundError:
        return f"{CHECKSUMS} is missing"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{CHECKSUMS} is damaged"
    except OSError as error:
        return str(error)
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    """Wait until a file or a folder's list of names is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
