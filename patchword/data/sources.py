"""What a source can be, and how each kind is opened.

A kind is a class with `fits` and `open`; `KINDS` lists them in the order in which they are asked. All but the embedded
data set end in the same `FileSource`: they differ in where tables, pictures and classes are looked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from patchword.config import DataConfig, Fields, SwappedMatchingConfig, UserError, nearest
from patchword.data.allot import inside
from patchword.data.archives import Folder, open_archive
from patchword.data.assemble import Named, from_named, from_tables
from patchword.data.embedded import EMBEDDED, open_embedded
from patchword.data.file_source import NotedSource
from patchword.data.finder import DirectFinder, Finder, SearchFinder, is_picture
from patchword.data.matched import MatchedSource, captions_alone
from patchword.data.places import named_archive, open_place, pictures_of_folder
from patchword.data.running import is_running, open_running
from patchword.data.saved import is_saved, saved_tables
from patchword.data.tables import is_table
from patchword.data.task_sources import TaskSources


def open_source(config: DataConfig, fields: Fields) -> NotedSource:
    """The samples that the settings name.

    Args:
        config: names them.
        fields: which texts they are to have; those of a task are `run.task.fields`.

    Raises:
        UserError: there is nothing of that name, or it cannot be understood; the message says what is wrong where.
    """
    if fields.parts:
        return TaskSources({name: open_source(own.data or config, own.fields) for name, own in fields.parts.items()})
    matching = config.matching
    if matching is None:
        return _opened(config, fields)
    if isinstance(matching, SwappedMatchingConfig):
        return MatchedSource(_opened(config, captions_alone(fields)), matching)
    if config.source != "scenes":
        raise UserError(
            f"data.matching.kind={matching.kind}: only the embedded scenes know what to alter (swapped: any)"
        )
    captions_alone(fields)
    return _opened(config, fields)


def _opened(config: DataConfig, fields: Fields) -> NotedSource:
    path = Path(config.source).expanduser()
    return next(kind for kind in KINDS if kind.fits(config.source, path)).open(config, fields, path)


class Kind(Protocol):
    """One kind of source."""

    def fits(self, source: str, path: Path) -> bool:
        """Whether `data.source`, the path `path`, is of this kind."""
        ...

    def open(self, config: DataConfig, fields: Fields, path: Path) -> NotedSource:
        """Its samples."""
        ...


class EmbeddedKind:
    """Data that is made up, not read."""

    def fits(self, source: str, path: Path) -> bool:
        """Whether it is called by its name."""
        return source in EMBEDDED

    def open(self, config: DataConfig, fields: Fields, path: Path) -> NotedSource:
        """Pictures of scenes, or numbers."""
        return open_embedded(config, fields)


class MissingKind:
    """A path where nothing is."""

    def fits(self, source: str, path: Path) -> bool:
        """Whether nothing is there."""
        return not path.exists()

    def open(self, config: DataConfig, fields: Fields, path: Path) -> NotedSource:
        """Says so."""
        beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        guess = nearest(path.name, [*beside, *EMBEDDED])
        hint = f"; did you mean {guess!r}?" if guess else ""
        raise UserError(
            f"data.source={config.source}: no such folder or file{hint} (embedded data sets: {', '.join(EMBEDDED)})"
        )


class SavedKind:
    """A folder that `datasets` (Hugging Face) saved: its splits are tables that mostly hold their pictures."""

    def fits(self, source: str, path: Path) -> bool:
        """Whether it is one by the files in it."""
        return is_saved(path)

    def open(self, config: DataConfig, fields: Fields, path: Path) -> NotedSource:
        """Its splits, as they are named."""
        for name in ("table", "images"):
            if getattr(config, name) is not None:
                raise UserError(
                    f"data.{name}={getattr(config, name)}: {config.source} is one whole, saved by `datasets`"
                )
        folder = Folder(path)
        named = [Named(split or "", table, split) for split, table in saved_tables(folder)]
        return from_named(config, fields, folder, named, lambda: SearchFinder(folder))


class FolderKind:
    """A folder with tables and pictures: loose, or in tars or zips. Flickr8k's own folder is one."""

    def fits(self, source: str, path: Path) -> bool:
        """Whether it is a folder."""
        return path.is_dir()

    def open(self, config: DataConfig, fields: Fields, path: Path) -> NotedSource:
        """Its tables and its pictures."""
        folder = Folder(path)
        return open_place(config, fields, folder, lambda: (pictures_of_folder(config, path, folder), ""))


class TableKind:
    """A table whose pictures are named relative to the folder that it is in."""

    def fits(self, source: str, path: Path) -> bool:
        """Whether it is a table's file."""
        return path.is_file() and is_table(path.name)

    def open(self, config: DataConfig, fields: Fields, path: Path) -> NotedSource:
        """The table, and the pictures that it names."""
        if config.table is not None:
            raise UserError(f"data.table={config.table}: data.source={config.source} is a table already")
        folder = Folder(path.parent)

        def find() -> Finder:
            return DirectFinder(folder) if config.images is None else SearchFinder(named_archive(config, path.parent))

        try:
            data = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}") from error
        return from_tables(config, fields, folder, [(path.name, data)], find)


class RunningKind:
    """A file of running text, or of token ids."""

    def fits(self, source: str, path: Path) -> bool:
        """Whether it is called so."""
        return path.is_file() and is_running(path.name)

    def open(self, config: DataConfig, fields: Fields, path: Path) -> NotedSource:
        """What is in it."""
        if "text" not in fields.names:
            raise UserError(
                f"data.source={config.source}: is running text, but {' and '.join(fields.names)} are needed: "
                "name a table, or a folder that holds one"
            )
        running = open_running(config, Folder(path.parent), path.name)
        assert running is not None
        return running


class ArchiveKind:
    """A tar or zip that holds pictures, and their table or their classes."""

    def fits(self, source: str, path: Path) -> bool:
        """Whatever else a file is taken for."""
        return True

    def open(self, config: DataConfig, fields: Fields, path: Path) -> NotedSource:
        """Its tables and its pictures."""
        if is_picture(path.name):
            raise UserError(f"data.source={config.source}: is a picture; name a folder that also holds a table")
        archive = open_archive(path)
        prefix = ""
        if config.images is not None:
            prefix = inside("data.images", config.images) + "/"
            if not any(name.startswith(prefix) for name in archive.names):
                raise UserError(f"data.images={config.images}: no such folder in {archive.label}")
        return open_place(config, fields, archive, lambda: (archive, prefix))


KINDS: tuple[Kind, ...] = (
    EmbeddedKind(),
    MissingKind(),
    SavedKind(),
    FolderKind(),
    TableKind(),
    RunningKind(),
    ArchiveKind(),
)
"""In the order in which they are asked."""
