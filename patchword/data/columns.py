"""Which columns of a table hold the picture, its captions and its split; cells in, clean values out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from patchword.config import ColumnsConfig, UserError, nearest, unknown
from patchword.data.tables import Table, where

IMAGE = ("image", "image_path", "file_name", "filename", "path", "file")
CAPTION = ("caption", "captions", "text", "sentence")
SPLIT = ("split",)


class Columns(NamedTuple):
    """Names of columns."""

    image: str
    captions: tuple[str, ...]
    """One, or several numbered ones: caption_0 to caption_9."""
    split: str | None


class Sample(NamedTuple):
    """What one row says."""

    number: int
    """The row's number in the table."""
    image: str
    captions: tuple[str, ...]
    """Without the empty ones."""
    empty: int
    """How many captions were empty; a row that says nothing at all has one."""
    split: str
    """As it is written; empty where the row names none."""


def choose_columns(table: Table, config: ColumnsConfig) -> Columns:
    """The columns that the settings name, else the ones with the usual names.

    Raises:
        UserError: there is no such column; the message names those that are there.
    """
    image = _choose(table, "image", config.image, IMAGE)[0]
    captions = _choose(table, "caption", config.caption, CAPTION, numbered=True)
    split = _choose(table, "split", config.split, SPLIT, required=False)
    return Columns(image, captions, split[0] if split else None)


def samples(table: Table, columns: Columns) -> Iterator[Sample]:
    """Every row of the table.

    Raises:
        UserError: a cell does not hold what it should; the message names its line.
    """
    count = len(columns.captions)
    wanted = (columns.image, *columns.captions, *([columns.split] if columns.split else []))
    for number, cells in table.rows(wanted):
        image, split = cells[0], cells[1 + count] if columns.split else None
        if not isinstance(image, str) or not image.strip():
            raise UserError(
                f"{where(table, number)}: column {columns.image!r} should be the path of a picture, got {_brief(image)}"
            )
        if not (split is None or isinstance(split, str)):
            raise UserError(
                f"{where(table, number)}: column {columns.split!r} should name a split, got {_brief(split)}"
            )
        texts = [
            text
            for name, cell in zip(columns.captions, cells[1:], strict=False)
            for text in _texts(table, number, name, cell)
        ]
        said = tuple(filter(None, texts))
        # of numbered columns, pictures with fewer captions leave the last ones empty
        empty = len(texts) - len(said) if count == 1 else int(not said)
        yield Sample(number, image.strip(), said, empty, (split or "").strip())


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
    guess = next(filter(None, (nearest(name, table.columns) for name in usual)), None)
    raise UserError(
        f"{table.name}: no column for the {what} ({', '.join(usual)}); the table has: {', '.join(table.columns)}; "
        f"name it: data.columns.{what}={guess or 'COLUMN'}"
    )


def _present(table: Table, spellings: Sequence[str], exact: bool) -> tuple[str, ...]:
    found = []
    for spelling in spellings:
        same = [column for column in table.columns if column == spelling]
        same = same or [column for column in table.columns if not exact and column.lower() == spelling]
        if len(same) > 1:
            raise UserError(f"{table.name}: two columns are named {' and '.join(map(repr, same))}")
        found += same
    return tuple(found)


def _texts(table: Table, number: int, column: str, cell: Any) -> list[str]:
    """The captions in a cell, blanks around them removed; an empty cell is one empty caption."""
    texts = (cell or [None]) if isinstance(cell, list) else [cell]
    out = []
    for text in texts:
        if text is None:
            text = ""
        if not isinstance(text, str):
            raise UserError(
                f"{where(table, number)}: column {column!r} should be a caption or a list of them, got {_brief(text)}"
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:  # JSON can write half a character
            raise UserError(f"{where(table, number)}: column {column!r} is not valid Unicode") from error
        out.append(text.strip())
    return out


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
