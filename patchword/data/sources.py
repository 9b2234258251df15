"""What a source can be, and how each kind is opened.

A kind is a class with `fits` and `open`; `KINDS` lists them in the order in which they are asked. All but the embedded
data set end in the same `FileSource`: they differ in where the table and the pictures are looked for.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from patchword.config import DataConfig, UserError, nearest
from patchword.data.archives import Archive, Folder, open_archive
from patchword.data.assemble import FLICKR_TABLES, Place, assemble, inside, read_text_file
from patchword.data.file_source import NotedSource
from patchword.data.finder import DirectFinder, Finder, SearchFinder, is_picture
from patchword.data.scene_source import SceneSource
from patchword.data.tables import READERS, is_table

SCENES = "scenes"
"""The name of the embedded data set; a folder of that name is reached as `./scenes`."""

_PACKED = (".tar", ".zip")


def open_source(config: DataConfig) -> NotedSource:
    """The samples that the settings name.

    Raises:
        UserError: there is nothing of that name, or it cannot be understood; the message says what is wrong where.
    """
    path = Path(config.source).expanduser()
    return next(kind for kind in KINDS if kind.fits(config.source, path)).open(config, path)


class Kind(Protocol):
    """One kind of source."""

    def fits(self, source: str, path: Path) -> bool:
        """Whether `data.source`, the path `path`, is of this kind."""
        ...

    def open(self, config: DataConfig, path: Path) -> NotedSource:
        """Its samples."""
        ...


class EmbeddedKind:
    """The data set that is drawn, not read."""

    def fits(self, source: str, path: Path) -> bool:
        """Whether it is called by its name."""
        return source == SCENES

    def open(self, config: DataConfig, path: Path) -> NotedSource:
        """The scenes."""
        for name in ("table", "images"):
            if getattr(config, name) is not None:
                raise UserError(f"data.{name}={getattr(config, name)}: the embedded data set has no files")
        return SceneSource(config)


class MissingKind:
    """A path where nothing is."""

    def fits(self, source: str, path: Path) -> bool:
        """Whether nothing is there."""
        return not path.exists()

    def open(self, config: DataConfig, path: Path) -> NotedSource:
        """Says so."""
        beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        guess = nearest(path.name, [*beside, SCENES])
        hint = f"; did you mean {guess!r}?" if guess else ""
        raise UserError(
            f"data.source={config.source}: no such folder or file{hint} (`{SCENES}` is the embedded data set)"
        )


class FolderKind:
    """A folder with a table and pictures: loose, or in one tar or zip. Flickr8k's own folder is one."""

    def fits(self, source: str, path: Path) -> bool:
        """Whether it is a folder."""
        return path.is_dir()

    def open(self, config: DataConfig, path: Path) -> NotedSource:
        """Its table and its pictures."""
        folder = Folder(path)
        return assemble(config, _place(config, folder), _finder_in_folder(config, path, folder))


class TableKind:
    """A table whose pictures are named relative to the folder that it is in."""

    def fits(self, source: str, path: Path) -> bool:
        """Whether it is a table's file."""
        return path.is_file() and is_table(path.name)

    def open(self, config: DataConfig, path: Path) -> NotedSource:
        """The table, and the pictures that it names."""
        if config.table is not None:
            raise UserError(f"data.table={config.table}: data.source={config.source} is a table already")
        folder = Folder(path.parent)
        finder = DirectFinder(folder) if config.images is None else _named_images(config, path.parent)
        try:
            place = Place(folder, path.name, path.read_bytes())
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}") from error
        return assemble(config, place, finder)


class ArchiveKind:
    """A tar or zip that holds pictures and their table."""

    def fits(self, source: str, path: Path) -> bool:
        """Whatever else a file is taken for."""
        return True

    def open(self, config: DataConfig, path: Path) -> NotedSource:
        """Its table and its pictures."""
        if is_picture(path.name):
            raise UserError(f"data.source={config.source}: is a picture; name a folder that also holds a table")
        archive = open_archive(path)
        prefix = ""
        if config.images is not None:
            prefix = inside("data.images", config.images) + "/"
            if not any(name.startswith(prefix) for name in archive.names):
                raise UserError(f"data.images={config.images}: no such folder in {archive.label}")
        return assemble(config, _place(config, archive), SearchFinder(archive, prefix))


KINDS: tuple[Kind, ...] = (EmbeddedKind(), MissingKind(), FolderKind(), TableKind(), ArchiveKind())
"""In the order in which they are asked."""


# ------------------------------------------------------------------ finding the table and the pictures


def _place(config: DataConfig, archive: Archive) -> Place:
    name = _choose_table(archive) if config.table is None else inside("data.table", config.table)
    return Place(archive, name, read_text_file(archive, name, "data.table"))


def _choose_table(archive: Archive) -> str:
    tables = [name for name in archive.names if is_table(name)]
    level = min((name.count("/") for name in tables), default=0)
    tables = [name for name in tables if name.count("/") == level]
    flickr = [name for known in FLICKR_TABLES for name in tables if posixpath.basename(name) == known]
    if flickr and len(flickr) == len(tables):  # the same captions twice
        return flickr[0]
    if not tables:
        raise UserError(f"{archive.label}: no table of captions ({', '.join(READERS)}) in it")
    if len(tables) > 1:
        raise UserError(_ambiguous(archive.label, "tables", tables, "table"))
    return tables[0]


def _ambiguous(label: str, what: str, names: Iterable[str], setting: str) -> str:
    names = list(names)
    return f"{label}: {len(names)} {what}: {', '.join(names[:10])}; choose one: data.{setting}={names[0]}"


def _finder_in_folder(config: DataConfig, path: Path, folder: Folder) -> Finder:
    if config.images is not None:
        return _named_images(config, path)
    packed = [name for name in folder.names if "/" not in name and name.lower().endswith(_PACKED)]
    loose = next((name for name in folder.names if is_picture(name)), None)
    if loose is None and not packed:
        why = "no pictures in it, and no tar or zip of pictures (links that lead out of it are not followed)"
        raise UserError(f"{folder.label}: {why}")
    choices = [*packed, *([] if loose is None else [posixpath.dirname(loose) or "."])]
    if len(choices) > 1:
        raise UserError(_ambiguous(folder.label, "places with pictures", choices, "images"))
    return SearchFinder(folder if loose else open_archive(path / packed[0]))


def _named_images(config: DataConfig, root: Path) -> Finder:
    assert config.images is not None
    path = root / inside("data.images", config.images)
    if not path.exists():
        guess = nearest(path.name, [other.name for other in root.iterdir()])
        hint = f"; did you mean {guess!r}?" if guess else ""
        raise UserError(f"data.images={config.images}: no such folder or file in {root}{hint}")
    return SearchFinder(open_archive(path))
