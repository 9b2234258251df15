"""Names of files in folders and archives."""

from __future__ import annotations

import posixpath
import unicodedata


def tidy(name: str) -> str:
    """A path in an archive with forward slashes and no `.` steps."""
    return posixpath.normpath(name.strip().replace("\\", "/"))


def normal(name: str) -> str:
    """One spelling for a path in an archive: tidy, with composed letters (a Mac writes accents apart)."""
    return unicodedata.normalize("NFC", tidy(name))


def leads_out(name: str) -> bool:
    """Whether a tidy path points outside of the place that it is relative to."""
    return name.startswith("/") or name.split("/", 1)[0] == ".."


def hidden(name: str) -> bool:
    """Whether a path is of a file that its owner never sees."""
    # zips made on a Mac hold a shadow file for each picture under __MACOSX
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/") if part not in (".", ".."))
