"""Which columns of a table hold the picture, the texts and the split; cells in, clean values out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from patchword.config import ColumnsConfig, Fields, UserError, nearest, unknown
from patchword.data.tables import Table, where

IMAGE = ("image", "img", "image_path", "file_name", "filename", "path", "file", "image_id", "img_id")
SPLIT = ("split",)


class TextColumn(NamedTuple):
    """How the column of a text is recognised and read."""

    usual: tuple[str, ...]
    """Names that it is found by."""
    should: str = "text or a list of texts"
    """What a cell should be."""
    numbered: bool = False
    """Whether NAME_0 to NAME_9 are several of it."""
    read: Callable[[Any], str | None] = lambda cell: cell if isinstance(cell, str) else None
    """The text in a cell that is no list; None: that is no such text."""
    once: bool = False
    """Whether the same text twice is one."""


def _answer(cell: Any) -> str | None:
    """An answer is a text or a whole number; VQA's own files keep {answer, answer_id, answer_confidence}."""
    if isinstance(cell, dict):
        cell = cell.get("answer")
    return None if isinstance(cell, bool) or not isinstance(cell, str | int) else str(cell)


def _label(cell: Any) -> str | None:
    """A class is a name; numbers are names, too."""
    if isinstance(cell, bool):
        return str(cell).lower()
    return str(cell) if isinstance(cell, str | int) else None


FIELDS: dict[str, TextColumn] = {
    "caption": TextColumn(("caption", "captions", "text", "sentence"), "a caption or a list of them", numbered=True),
    "question": TextColumn(("question", "questions")),
    "answer": TextColumn(("answer", "answers"), "an answer or a list of them", read=_answer),
    "question_type": TextColumn(("question_type",), "the name of a kind of question"),
    "label": TextColumn(
        ("label", "labels", "class", "category"), "a class: text or a whole number", read=_label, once=True
    ),
    "source": TextColumn(("source", "src")),
    "target": TextColumn(("target", "tgt")),
    "text": TextColumn(
        ("text", "content", "document", "caption", "captions", "sentence"), "a text or a list of them", numbered=True
    ),
}
"""Every text that a record may have."""

ANYTHING = Fields((), tuple(FIELDS), image=None)
"""Whatever the data has."""


class Columns(NamedTuple):
    """Names of columns."""

    image: str | None
    texts: Mapping[str, tuple[str, ...]]
    """By field: one, or several numbered ones (caption_0 to caption_9)."""
    split: str | None


class Sample(NamedTuple):
    """What one row says."""

    number: int
    """The row's number in the table."""
    image: str | None
    """The picture's path."""
    picture: bytes | None
    """The picture itself, where the table holds it."""
    texts: Mapping[str, tuple[str, ...]]
    """By field, without the empty ones; nothing at all where a text that must be there is empty. Where several fields
    must be there, they are parallel: what a row says once goes with each of the others."""
    empty: Mapping[str, int]
    """How many texts that should be there were empty, by field; a row of several columns that says nothing has one."""
    split: str
    """As it is written; empty where the row names none."""


def choose_columns(table: Table, config: ColumnsConfig, fields: Fields, listed: bool = False) -> Columns:
    """The columns that the settings name, else the ones with the usual names.

    The picture's is among them where pictures are read, or where splits are `listed` by their names.

    Raises:
        UserError: there is no such column; the message names those that are there.
    """
    for name in FIELDS:
        if name not in fields.names and getattr(config, name) is not None:
            raise UserError(f"data.columns.{name}={getattr(config, name)}: this task reads no {name}")
    if config.answer_separator is not None and "answer" not in fields.names:
        raise UserError(f"data.columns.answer_separator={config.answer_separator}: this task reads no answer")
    image = ()
    if fields.image is not False or listed:
        image = _choose(table, "image", config.image, IMAGE, required=fields.image is True)
    elif config.image is not None:
        raise UserError(f"data.columns.image={config.image}: this task reads no pictures")
    texts: dict[str, tuple[str, ...]] = {}
    for name in fields.names:
        column = FIELDS[name]
        found = _choose(
            table, name, getattr(config, name), column.usual, column.numbered, required=name in fields.required
        )
        if name not in fields.required and any(set(found) & set(other) for other in texts.values()):
            continue  # the same column under a second name: a caption is a text, too
        texts |= {name: found} if found else {}
    if not texts:
        usual = [name for field in fields.names for name in FIELDS[field].usual]
        raise UserError(f"{table.name}: no column of text; {_what_there_is(table, usual, fields.names)}")
    split = _choose(table, "split", config.split, SPLIT, required=False)
    return Columns(image[0] if image else None, texts, split[0] if split else None)


def samples(table: Table, columns: Columns, fields: Fields, separator: str | None = None) -> Iterator[Sample]:
    """Every row of the table; `separator` stands between several answers in one cell.

    Raises:
        UserError: a cell does not hold what it should; the message names its line.
    """
    names = [name for found in columns.texts.values() for name in found]
    wanted = [*names, *([columns.image] if columns.image else []), *([columns.split] if columns.split else [])]
    for number, cells in table.rows(wanted):
        by_name = dict(zip(wanted, cells, strict=True))
        image = picture = None
        if columns.image is not None:
            image, picture = _picture(table, number, columns.image, by_name[columns.image])
        split = by_name[columns.split] if columns.split else None
        if not (split is None or isinstance(split, str)):
            raise UserError(
                f"{where(table, number)}: column {columns.split!r} should name a split, got {_brief(split)}"
            )
        said, empty = {}, {}
        for field, found in columns.texts.items():
            texts = [text for name in found for text in _texts(table, number, name, FIELDS[field], by_name[name])]
            if field == "answer" and separator is not None:
                texts = [part.strip() for text in texts for part in text.split(separator)]
            said[field] = texts
            # of numbered columns, pictures with fewer captions leave the last ones empty
            empty[field] = texts.count("") if len(found) == 1 else int(not any(texts))
        said = side_by_side(where(table, number), said, fields)
        musts = fields.required or tuple(columns.texts)
        whole = all(said[name] for name in fields.required) and any(said.values())
        missing = {name: empty[name] for name in musts if empty[name]}
        yield Sample(number, image, picture, said if whole else {}, missing, (split or "").strip())


def side_by_side(place: str, said: Mapping[str, Sequence[str]], fields: Fields) -> dict[str, tuple[str, ...]]:
    """The texts of a row without the empty ones; where several fields must be there, as many of each, in pairs."""
    if not fields.parallel:
        return {name: tuple(filter(None, texts)) for name, texts in said.items()}
    count = max(map(len, said.values()))
    for name, texts in said.items():
        if len(texts) not in (1, count):
            other = next(n for n, t in said.items() if len(t) == count)
            raise UserError(f"{place}: {len(texts)} {name}s, but {count} {other}s: they should go in pairs")
    columns = [texts if len(texts) == count else [*texts] * count for texts in said.values()]
    rows = [dict(zip(said, row, strict=True)) for row in zip(*columns, strict=True)]
    whole = [row for row in rows if all(row[name] for name in fields.required)]
    return {name: tuple(row[name] for row in whole) for name in said}


def _choose(
    table: Table,
    what: str,
    asked: str | None,
    usual: Sequence[str],
    numbered: bool = False,
    required: bool = True,
) -> tuple[str, ...]:
    for name in usual if asked is None else (asked,):
        spellings = [name, *(f"{name}_{k}" for k in range(10))] if numbered else [name]
        found = _present(table, spellings, exact=asked is not None)
        if found:
            return found
    if asked is not None:
        raise UserError(f"{table.name}: data.columns.{what}: {unknown('column', asked, table.columns)}")
    if not required:
        return ()
    raise UserError(
        f"{table.name}: no column for the {what} ({', '.join(usual)}); {_what_there_is(table, usual, [what])}"
    )


def _what_there_is(table: Table, usual: Sequence[str], fields: Sequence[str]) -> str:
    """The columns of a table, and the setting that names one."""
    near = next(((name, guess) for name in usual if (guess := nearest(name, table.columns))), None)
    field = next((field for field in fields if near and field in FIELDS and near[0] in FIELDS[field].usual), fields[0])
    return f"the table has: {', '.join(table.columns)}; name it: data.columns.{field}={near[1] if near else 'COLUMN'}"


def _present(table: Table, spellings: Sequence[str], exact: bool) -> tuple[str, ...]:
    found = []
    for spelling in spellings:
        same = [column for column in table.columns if column == spelling]
        same = same or [column for column in table.columns if not exact and column.lower() == spelling]
        if len(same) > 1:
            raise UserError(f"{table.name}: two columns are named {' and '.join(map(repr, same))}")
        found += same
    return tuple(found)


def _picture(table: Table, number: int, column: str, cell: Any) -> tuple[str, bytes | None]:
    """The path in a cell, or the name and the bytes of the picture itself (`datasets` keeps {bytes, path})."""
    path, data = (cell.get("path"), cell.get("bytes")) if isinstance(cell, dict) else (cell, None)
    if isinstance(path, bytes):
        path, data = None, path
    if type(path) is int and column.lower().endswith("id"):  # numbers that stand for pictures are named so
        path = str(path)
    if isinstance(data, bytes):
        return (path if isinstance(path, str) and path.strip() else f"{table.unit} {number}").strip(), data
    if not isinstance(path, str) or not path.strip():
        raise UserError(
            f"{where(table, number)}: column {column!r} should be the path of a picture, got {_brief(cell)}"
        )
    return path.strip(), None


def _texts(table: Table, number: int, column: str, kind: TextColumn, cell: Any) -> list[str]:
    """The texts in a cell, blanks around them removed; an empty cell is one empty text."""
    texts = (cell or [None]) if isinstance(cell, list) else [cell]
    out = []
    for raw in texts:
        text = "" if raw is None else kind.read(raw)
        if text is None:
            raise UserError(f"{where(table, number)}: column {column!r} should be {kind.should}, got {_brief(raw)}")
        try:
            text.encode()
        except UnicodeEncodeError as error:  # JSON can write half a character
            raise UserError(f"{where(table, number)}: column {column!r} is not valid Unicode") from error
        out.append(text.strip())
    return out


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
