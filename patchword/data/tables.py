"""Tables: CSV, TSV, JSON, JSON lines, parquet, and Flickr8k's token file, as rows that know their line."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from patchword.config import UserError
from patchword.data.json_layouts import rows_of
from patchword.data.json_text import as_object, decode, parse
from patchword.data.rows import Row


class Table(Protocol):
    """Rows of named cells, read again at every pass."""

    name: str
    unit: str
    """What a row's number counts: line, row or entry."""
    columns: tuple[str, ...]

    def rows(self, wanted: Sequence[str]) -> Iterator[Row]:
        """Each row's cells of the columns `wanted`.

        Raises:
            UserError: a row is malformed; the message names its line.
        """
        ...


Reader = Callable[[str, bytes], Table]


def where(table: Table, number: int) -> str:
    """`captions.csv, line 7`: how messages name a row."""
    return f"{table.name}, {table.unit} {number}"


_LONGEST_CELL = 2**31 - 1  # the csv module's own limit of 131,072 would refuse a long text as one with broken quotes


class DelimitedTable:
    """Cells between commas or tabs (RFC 4180): a cell with the delimiter, a quote or a line break is quoted."""

    unit = "line"

    def __init__(self, name: str, data: bytes, delimiter: str) -> None:
        self.name = name
        self._text = decode(name, data)
        self._delimiter = delimiter
        _, header = next(self._records(), (0, []))
        self.columns = tuple(cell.strip() for cell in header)
        other = next((sign for sign in ";\t,|" if sign in "".join(header)), None)
        if len(header) == 1 and other is not None:
            raise UserError(
                f"{name}: the header is one cell, {header[0]!r}: should have a {_DELIMITERS[delimiter]} between two "
                f"columns, not {other!r}"
            )

    def rows(self, wanted: Sequence[str]) -> Iterator[Row]:
        """Each row below the header."""
        places = [self.columns.index(column) for column in wanted]
        records = self._records()
        next(records, None)
        for line, cells in records:
            if len(cells) != len(self.columns):
                raise UserError(
                    f"{self.name}, line {line}: {len(cells)} cells, but the header has {len(self.columns)}; "
                    f"a cell with a {_DELIMITERS[self._delimiter]} in it must be quoted"
                )
            yield Row(line, tuple(cells[place] for place in places))

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        lines = csv.reader(io.StringIO(self._text, newline=""), delimiter=self._delimiter, strict=True)
        csv.field_size_limit(_LONGEST_CELL)
        while True:
            start = lines.line_num + 1  # where the row begins: a quote that is never closed ends far below
            try:
                cells = next(lines)
            except StopIteration:
                return
            except csv.Error as error:
                raise UserError(
                    f'{self.name}, line {start}: broken quotes ({error}); a quote inside a quoted cell is written ""'
                ) from error
            if cells:
                yield start, cells


_DELIMITERS = {",": "comma", "\t": "tab"}


class ObjectsTable:
    """Rows that are mappings already, each with its number.

    Of a cell with named parts (`translation: {en, fr}`), each part is a column, too: `translation.en`.
    """

    def __init__(self, name: str, unit: str, objects: Sequence[tuple[int, Mapping[str, Any]]]) -> None:
        self.name, self.unit = name, unit
        self._objects = objects
        whole = dict.fromkeys(key for _, item in objects for key in item)
        inner = {
            f"{key}.{part}": (key, part)
            for _, item in objects
            for key, cell in item.items()
            if isinstance(cell, dict)
            for part in cell
        }
        self._inner = {name: place for name, place in inner.items() if name not in whole}
        self.columns = (*whole, *self._inner)

    def rows(self, wanted: Sequence[str]) -> Iterator[Row]:
        """Each object's values."""
        for number, item in self._objects:
            yield Row(number, tuple(self._cell(item, name) for name in wanted))

    def _cell(self, item: Mapping[str, Any], name: str) -> Any:
        if name not in self._inner:
            return item.get(name)
        key, part = self._inner[name]
        cell = item.get(key)
        return cell.get(part) if isinstance(cell, dict) else None


def _read_csv(name: str, data: bytes) -> Table:
    return DelimitedTable(name, data, ",")


def _read_tsv(name: str, data: bytes) -> Table:
    return DelimitedTable(name, data, "\t")


def _read_parquet(name: str, data: bytes) -> Table:
    from patchword.data.parquet import ParquetTable

    return ParquetTable(name, data)


def _read_json(name: str, data: bytes) -> Table:
    items = rows_of(name, parse(name, decode(name, data)))
    return ObjectsTable(name, "entry", [(i, as_object(f"{name}, entry {i}", item)) for i, item in enumerate(items, 1)])


def _read_jsonl(name: str, data: bytes) -> Table:
    lines = [(number, line) for number, line in enumerate(decode(name, data).split("\n"), 1) if line.strip()]
    places = [(number, f"{name}, line {number}", line) for number, line in lines]
    return ObjectsTable(
        name, "line", [(number, as_object(place, parse(place, line))) for number, place, line in places]
    )


def _read_tokens(name: str, data: bytes) -> Table:
    objects = []
    for number, line in enumerate(decode(name, data).split("\n"), 1):
        if not line.strip():
            continue
        picture, tab, caption = line.partition("\t")
        picture, mark, _ = picture.rpartition("#")
        if not (tab and mark):
            raise UserError(f"{name}, line {number}: should be NAME#NUMBER, a tab, and the caption")
        objects.append((number, {"image": picture, "caption": caption}))
    return ObjectsTable(name, "line", objects)


READERS: dict[str, Reader] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".json": _read_json,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
    ".token.txt": _read_tokens,
    "captions.txt": _read_csv,
}
"""By the end of the file's name; `captions.txt` and `.token.txt` are Flickr8k's."""


def is_table(name: str) -> bool:
    """Whether a file's name is a table's."""
    return _reader(name) is not None


def read_table(name: str, data: bytes) -> Table:
    """The table in a file's bytes, by the end of its name.

    Raises:
        UserError: the name is no table's, the bytes are not what the name says, or there is no row.
    """
    reader = _reader(name)
    if reader is None:
        raise UserError(f"{name}: not a table; its name should end with one of {', '.join(READERS)}")
    table = reader(name, data)
    if not table.columns:
        raise UserError(f"{name}: the table is empty")
    return table


def _reader(name: str) -> Reader | None:
    name = name.lower()
    return next((reader for end, reader in READERS.items() if name.endswith(end)), None)
