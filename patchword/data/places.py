"""Where in a folder or archive its tables, its pictures and its classes are."""

from __future__ import annotations

import functools
import posixpath
from collections.abc import Callable, Iterable
from pathlib import Path

from patchword.config import DataConfig, Fields, UserError, nearest
from patchword.data.allot import FLICKR_TABLES, Origin, inside, read_text_file
from patchword.data.annotations import without_annotations
from patchword.data.archives import Archive, Folder, open_archive
from patchword.data.assemble import Named, finished, from_named, from_tables
from patchword.data.class_folders import gather_classes
from patchword.data.file_source import NotedSource
from patchword.data.finder import SearchFinder, is_picture
from patchword.data.idx import gather_idx
from patchword.data.parallel import gather_parallel
from patchword.data.running import open_ids, open_running
from patchword.data.several import SeveralArchives
from patchword.data.shards import sample_files, sample_tables
from patchword.data.splits import split_of_path
from patchword.data.tables import READERS, is_table

_PACKED = (".tar", ".zip")


def open_place(
    config: DataConfig, fields: Fields, archive: Archive, pictures: Callable[[], tuple[Archive, str]]
) -> NotedSource:
    """The source in a folder or archive: what its tables say, its parallel or running texts, its pairs of a picture and
    a JSON, or what its files tell of classes.

    Args:
        config: the settings.
        fields: what is read.
        archive: what is looked into.
        pictures: the archive that pictures are in, and how the names of those that count begin.

    Raises:
        UserError: nothing there can be understood, or it can in several ways; the message says how to choose.
    """
    if "text" in fields.required and config.table is None and (ids := open_ids(config, archive)) is not None:
        return ids
    tables, pictures = _tables(config, archive), functools.cache(pictures)
    shows = any(is_picture(name) or name.lower().endswith(_PACKED) for name in archive.names)
    if tables:
        if fields.image is None and shows:
            fields = fields._replace(image=True)  # pictures are there: a table that names none is a mistake
        data = [(name, read_text_file(archive, name, "data.table")) for name in tables]
        return from_tables(config, fields, archive, data, lambda: SearchFinder(*pictures()))
    if (pairs := gather_parallel(config, archive, fields)) is not None:
        return finished(config, Origin(archive), pairs)
    if "text" in fields.required or ("text" in fields.names and not any(map(is_picture, archive.names))):
        running = open_running(config, archive)
        if running is not None:
            return running
    if shows and fields.image is not False and (samples := sample_tables(*pictures())):
        named = [Named(f"{folder}/", table, split_of_path(f"{folder}/")) for folder, table in samples.items()]
        return from_named(config, fields, archive, named, lambda: SearchFinder(*pictures()))
    if fields.required not in ((), ("label",)) or "label" not in fields.names:
        what = f"{' and '.join(fields.required or ('text',))}s"
        raise UserError(f"{archive.label}: no table of {what} ({', '.join(READERS)}) in it")
    _refuse_columns(config)
    found = gather_idx(archive) if config.images is None else None
    found = found or gather_classes(*pictures())
    if found is None:
        raise UserError(
            f"{archive.label}: nothing tells classes: no table ({', '.join(READERS)}), no folders of pictures named "
            "after them (cat/1.jpg), no pictures named like cat.1.jpg"
        )
    return finished(config, Origin(archive), found)


def _tables(config: DataConfig, archive: Archive) -> list[str]:
    """The tables to read: the one of the settings, else those that are there."""
    if config.table is not None:
        return [inside("data.table", config.table)]
    tables = [name for name in archive.names if is_table(name)]
    samples = set(sample_files(archive)) if tables else set()
    tables = [name for name in tables if name not in samples]
    level = min((name.count("/") for name in tables), default=0)
    tables = [name for name in tables if name.count("/") == level]
    flickr = [name for known in FLICKR_TABLES for name in tables if posixpath.basename(name) == known]
    if flickr and len(flickr) == len(tables):  # the same captions twice
        return flickr[:1]
    if len(without_annotations(tables)) > 1 and not _say_splits(tables):
        raise UserError(_ambiguous(archive.label, "tables", tables, "table"))
    return tables


def _refuse_columns(config: DataConfig) -> None:
    for name, column in config.columns.to_dict().items():
        if column is not None:
            raise UserError(f"data.columns.{name}={column}: there is no table in {config.source}")


def pictures_of_folder(config: DataConfig, path: Path, folder: Folder) -> Archive:
    """Where the pictures of a folder are: in the place of the settings, loose, or in tars and zips at its top
    or in its folders of splits (train/images.tar).

    Raises:
        UserError: there are none, or in several places.
    """
    if config.images is not None:
        return named_archive(config, path)
    tars = [name for name in folder.names if name.lower().endswith(_PACKED)]
    packed = [name for name in tars if "/" not in name] or [n for n in tars if n.count("/") == 1 and split_of_path(n)]
    loose = next((name for name in folder.names if is_picture(name)), None)
    if loose is None and not packed:
        why = "no pictures in it, and no tar or zip of pictures (links that lead out of it are not followed)"
        raise UserError(f"{folder.label}: {why}")
    said = _say_splits(packed)
    if loose is None and len(packed) > 1 and (said or all(name.lower().endswith(".tar") for name in packed)):
        archives = {name.rsplit(".", 1)[0]: open_archive(path / name) for name in packed}
        if said or all(sample_files(each) for each in archives.values()):
            return SeveralArchives(folder.label, archives)
    choices = [*packed, *([] if loose is None else [posixpath.dirname(loose) or "."])]
    if len(choices) > 1:
        raise UserError(_ambiguous(folder.label, "places with pictures", choices, "images"))
    return folder if loose else open_archive(path / packed[0])


def named_archive(config: DataConfig, root: Path) -> Archive:
    """The folder, tar or zip that `data.images` names.

    Raises:
        UserError: there is none.
    """
    assert config.images is not None
    path = root / inside("data.images", config.images)
    if not path.exists():
        guess = nearest(path.name, [other.name for other in root.iterdir()])
        hint = f"; did you mean {guess!r}?" if guess else ""
        raise UserError(f"data.images={config.images}: no such folder or file in {root}{hint}")
    return open_archive(path)


def _say_splits(names: Iterable[str]) -> bool:
    return all(split_of_path(name) is not None for name in names)


def _ambiguous(label: str, what: str, names: Iterable[str], setting: str) -> str:
    names = list(names)
    return f"{label}: {len(names)} {what}: {', '.join(names[:10])}; choose one: data.{setting}={names[0]}"
