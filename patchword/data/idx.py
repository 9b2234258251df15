"""MNIST's own files: pictures and labels as arrays of bytes behind a big-endian header (LeCun, Cortes, Burges)."""

from __future__ import annotations

import gzip
import math
import posixpath
import re
import zlib
from collections.abc import Mapping

import numpy as np

from patchword.config import UserError
from patchword.data.archives import Archive
from patchword.data.decode import BadImage
from patchword.data.file_source import Entry
from patchword.data.gather import Gathered

_NAME = re.compile(r"(?:.*-)?(train|t10k|test)-(images|labels)[-.]idx(\d)-ubyte(?:\.gz)?")
_PARTS = {"train": "train", "t10k": "test", "test": "test"}
_UNSIGNED_BYTES = 8


class IdxPictures:
    """Grey pictures in memory, uint8 [count, height, width], by split; the name of one is `train/7`."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays = dict(arrays)

    def read(self, name: str) -> np.ndarray:
        """A picture, uint8 [height, width, 3]."""
        split, _, number = name.rpartition("/")
        try:
            grey = self._arrays[split][int(number)]
        except (KeyError, ValueError, IndexError) as error:
            raise BadImage("missing", "not in the idx files") from error
        return np.repeat(grey[:, :, None], 3, axis=2)


def gather_idx(archive: Archive) -> Gathered | None:
    """The pictures and labels of the idx files in an archive, as they are or gzipped; None: there are none.

    Raises:
        UserError: one is damaged, or its partner is missing or of another length.
    """
    files: dict[str, dict[str, str]] = {}
    for name in archive.names:
        match = _NAME.fullmatch(posixpath.basename(name))
        if match:
            part = files.setdefault(_PARTS[match[1]], {})
            if match[2] in part:
                raise UserError(f"{archive.label}: {part[match[2]]} and {name} are the same {match[2]}: drop one")
            part[match[2]] = name
    if not files:
        return None
    arrays: dict[str, np.ndarray] = {}
    entries: dict[str, Entry] = {}
    for split, part in sorted(files.items()):
        for what in ("images", "labels"):
            if what not in part:
                raise UserError(f"{archive.label}: {next(iter(part.values()))} has no file of {what} beside it")
        arrays[split], labels = _read(archive, part["images"], 3), _read(archive, part["labels"], 1)
        if len(arrays[split]) != len(labels):
            raise UserError(
                f"{archive.label}: {part['images']} has {len(arrays[split])} pictures, "
                f"{part['labels']} {len(labels)} labels"
            )
        for number, label in enumerate(labels.tolist()):
            name = f"{split}/{number}"
            entries[name] = Entry(name, name, {"label": [str(label)]}, {split: None})
    if not entries:
        raise UserError(f"{archive.label}: the data set is empty: its idx files hold no pictures")
    return Gathered(entries, IdxPictures(arrays))


def _read(archive: Archive, name: str, axes: int) -> np.ndarray:
    """The array in a file, uint8 with so many axes."""
    place = f"{archive.label}: {name}"
    try:
        data = archive.read(name)
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
    except BadImage as error:
        raise UserError(f"{place}: {error.message}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{place}: damaged or cut short ({error})") from error
    start = 4 + 4 * axes
    if len(data) < 4 or data[:2] != b"\0\0":
        raise UserError(f"{place}: not an idx file: it should begin with two zero bytes")
    if (data[2], data[3]) != (_UNSIGNED_BYTES, axes):
        raise UserError(f"{place}: should hold bytes (type 8) along {axes} axes, not type {data[2]} along {data[3]}")
    if len(data) < start:
        raise UserError(f"{place}: cut short in its header, at byte {len(data)}")
    shape = np.frombuffer(data, dtype=">u4", count=axes, offset=4).tolist()
    if len(data) - start != math.prod(shape):
        raise UserError(f"{place}: its header says {' x '.join(map(str, shape))} bytes, {len(data) - start} follow")
    if shape[0] and not all(shape):
        raise UserError(f"{place}: its header says {' x '.join(map(str, shape))} bytes: pictures without pixels")
    return np.frombuffer(data, dtype=np.uint8, offset=start).reshape(shape)
