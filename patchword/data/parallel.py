"""Parallel texts: files whose line N says the same in different languages (`train.en` and `train.de`, `.gz` or not)."""

from __future__ import annotations

import gzip
import posixpath
import re
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

from patchword.config import ColumnsConfig, DataConfig, Fields, UserError, unknown
from patchword.data.archives import Archive
from patchword.data.columns import FIELDS
from patchword.data.decode import BadImage
from patchword.data.file_source import Entry
from patchword.data.finder import is_picture
from patchword.data.gather import Gathered
from patchword.data.json_text import decode
from patchword.data.splits import said_split

SIDES = ("source", "target")
_LANGUAGE = re.compile(r"[a-z]{2,3}([-_][A-Za-z]{2,4})?")
"""What looks like the name of a language: en, deu, pt-BR."""
_SIGNS = "._-/"
"""What may stand before the language in a file's name."""


def gather_parallel(config: DataConfig, archive: Archive, fields: Fields) -> Gathered | None:
    """The pairs of lines in an archive's parallel texts; None: there are none.

    A file's name ends with its language, `data.columns.source` or `data.columns.target`; `.txt` and `.gz` may follow.
    What stands before it (`train.`) names the pair of files. A pair of lines of which one is blank is left out.

    Raises:
        UserError: the settings do not choose two languages that are there, a file lacks its partner, or two partners
            do not go together.
    """
    if not set(SIDES) <= set(fields.names):
        return None
    named = _named(config.columns)
    files = {_bare(name): name for name in archive.names}
    if named is None:
        named = _usual(files)
    if named is None:
        if set(SIDES) <= set(fields.required) or not any(map(is_picture, archive.names)):
            _refuse_to_guess(archive, files)
        return None
    _refuse_others(config)
    sides = [_of_language(files, language) for language in named]
    for name in archive.names:
        if (other := files[_bare(name)]) != name and any(other in side.values() for side in sides):
            raise UserError(f"{archive.label}: {name} and {other} are the same text twice: keep one of them")
    for side, language, found in zip(SIDES, named, sides, strict=True):
        if not found:
            there = sorted(_languages(files)) or sorted(files.values())[:10]
            raise UserError(
                f"{archive.label}: data.columns.{side}: {unknown('ending of a text file', language, there)}"
            )
    for stem in dict.fromkeys([*sides[0], *sides[1]]):
        _whole(archive, stem, sides, named)
    return _gathered(archive, *sides)


def _named(columns: ColumnsConfig) -> tuple[str, str] | None:
    """The two languages of the settings."""
    source, target = columns.source, columns.target
    if source is None and target is None:
        return None
    if source is None or target is None:
        have, lack = ("source", "target") if target is None else ("target", "source")
        raise UserError(
            f"data.columns.{have}={getattr(columns, have)}: of two files of text both have to be named; "
            f"set data.columns.{lack}, too"
        )
    if source == target:
        raise UserError(f"data.columns.source and data.columns.target are both {source!r}")
    return source, target


def _usual(files: Mapping[str, str]) -> tuple[str, str] | None:
    """The names that need no setting: train.src and train.tgt."""
    found = [next((name for name in FIELDS[side].usual if _of_language(files, name)), None) for side in SIDES]
    return (found[0], found[1]) if found[0] and found[1] else None


def _refuse_to_guess(archive: Archive, files: Mapping[str, str]) -> None:
    languages = sorted(_languages(files))
    if len(languages) > 1:
        raise UserError(
            f"{archive.label}: parallel texts in {', '.join(languages)}: say what is translated into what: "
            f"data.columns.source={languages[0]} data.columns.target={languages[1]}"
        )


def _refuse_others(config: DataConfig) -> None:
    if config.images is not None:
        raise UserError(f"data.images={config.images}: files of text have no pictures; a table can name both")
    for name, column in config.columns.to_dict().items():
        if column is not None and name not in SIDES:
            raise UserError(f"data.columns.{name}={column}: files of text have no columns")


def _bare(name: str) -> str:
    """A file's name without what says how it is kept."""
    return name.removesuffix(".gz").removesuffix(".txt")


def _of_language(files: Mapping[str, str], language: str) -> dict[str, str]:
    """Files of a language by what precedes it in their names."""
    language = _bare(language)
    found = {}
    for bare, name in files.items():
        stem = bare.removesuffix(language)
        if stem != bare and (not stem or stem[-1] in _SIGNS):
            found[stem] = name
    return found


def _languages(files: Mapping[str, str]) -> set[str]:
    """What looks like languages: endings that files with the same beginning tell apart."""
    by_stem: dict[str, set[str]] = defaultdict(set)
    for bare in files:
        place = max(map(bare.rfind, _SIGNS)) + 1
        if _LANGUAGE.fullmatch(bare[place:]):
            by_stem[bare[:place]].add(bare[place:])
    return set().union(*(found for found in by_stem.values() if len(found) > 1), set())


def _whole(archive: Archive, stem: str, sides: Sequence[Mapping[str, str]], named: Sequence[str]) -> None:
    """Refuses a file without a partner."""
    for here, there, language in ((sides[0], sides[1], named[1]), (sides[1], sides[0], named[0])):
        if stem not in there:
            raise UserError(f"{archive.label}: {here[stem]} has no partner: no file {stem}{language} (.txt, .gz)")


# ------------------------------------------------------------------ reading


def _gathered(archive: Archive, source: Mapping[str, str], target: Mapping[str, str]) -> Gathered:
    splits = _splits(source)
    entries: dict[str, Entry] = {}
    empty: dict[str, list[str]] = defaultdict(list)
    silent: list[str] = []
    for stem in source:
        texts = [_lines(archive, files[stem]) for files in (source, target)]
        if len(texts[0]) != len(texts[1]):
            raise UserError(
                f"{archive.label}: {source[stem]} has {len(texts[0])} lines, {target[stem]} {len(texts[1])}: "
                "line N of one should be the translation of line N of the other"
            )
        label = stem.rstrip(_SIGNS)
        for number, pair in enumerate(zip(*texts, strict=True), 1):
            name = f"{label}, line {number}" if label else f"line {number}"
            for side, text, files in zip(SIDES, pair, (source, target), strict=True):
                if not text:
                    empty[side].append(f"{files[stem]}, line {number}")
            if all(pair):
                said = {side: [text] for side, text in zip(SIDES, pair, strict=True)}
                entries[name] = Entry(name, None, said, {splits[stem]: None} if splits[stem] else {})
            else:
                silent.append(name)
    if not entries:
        files = f"{', '.join(source.values())} and {', '.join(target.values())}"
        raise UserError(f"{archive.label}: the data set is empty: {files} hold no pair of lines")
    return Gathered(entries, None, None, {side: tuple(rows) for side, rows in empty.items()}, tuple(silent))


def _splits(stems: Mapping[str, str]) -> dict[str, str]:
    """The split of each pair of files: what its name says; beside a named training part, its own name."""
    said = {stem: _said(stem) for stem in stems}
    trained = "train" in said.values()
    return {stem: split or (stem.rstrip(_SIGNS) if trained else "") for stem, split in said.items()}


def _said(stem: str) -> str | None:
    parts = [part for part in reversed(stem.rstrip(_SIGNS).split("/")) if part]
    return next((split for part in parts if (split := said_split(part)) is not None), None)


def _lines(archive: Archive, name: str) -> list[str]:
    """The lines of a file of text, blanks around them removed."""
    place = f"{archive.label}: {name}"
    try:
        data = archive.read(name)
        if name.endswith(".gz"):
            data = gzip.decompress(data)
    except BadImage as error:
        raise UserError(f"{place}: {error.message}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{place}: damaged or cut short ({error})") from error
    lines = decode(posixpath.join(archive.label, name), data).split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.strip() for line in lines]
