"""Tables in Apache Arrow's form: what parquet and the folders that `datasets` (Hugging Face) saves have in common."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from patchword.config import UserError
from patchword.data.rows import Row


class ArrowTable(ABC):
    """Record batches as rows; columns that nobody wants are not read.

    Of a cell with named parts (`translation: {en, fr}`), each part is a column, too: `translation.en`.

    Args:
        name: what messages call it.
        schema: pyarrow's, whose metadata may tell the names of classes.
    """

    unit = "row"

    def __init__(self, name: str, schema: Any) -> None:
        self.name = name
        parts = {f.name: [f.type.field(i).name for i in range(f.type.num_fields)] for f in schema if _has_parts(f.type)}
        self._inner = {f"{column}.{part}": (column, part) for column, names in parts.items() for part in names}
        self.columns = (*schema.names, *self._inner)
        self._classes = _class_names(schema.metadata or {})

    @abstractmethod
    def batches(self, columns: Sequence[str]) -> Iterator[Any]:
        """Record batches of these columns of the file."""

    def rows(self, wanted: Sequence[str]) -> Iterator[Row]:
        """Each row, counted from 1."""
        number = 0
        try:
            for batch in self.batches(list(dict.fromkeys(self._inner.get(name, (name,))[0] for name in wanted))):
                columns = [self._cells(batch, name) for name in wanted]
                for cells in zip(*columns, strict=True):
                    number += 1
                    yield Row(number, cells)
        except errors() as error:
            raise UserError(f"{self.name}: damaged after row {number} ({error})") from error

    def _cells(self, batch: Any, name: str) -> list[Any]:
        column, part = self._inner.get(name, (name, None))
        cells = batch.column(column).to_pylist()
        if part is not None:
            return [None if cell is None else cell[part] for cell in cells]
        names = self._classes.get(name)
        return cells if names is None else [_class_name(names, cell) for cell in cells]


def needs_pyarrow(name: str, what: str, extra: str) -> None:
    """Raises UserError where pyarrow is not installed; the message says how it comes."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise UserError(f"{name}: {what} needs pyarrow; pip install 'patchword[{extra}]'") from error


def errors() -> tuple[type[Exception], ...]:
    """What pyarrow raises on damaged files."""
    import pyarrow

    return pyarrow.ArrowException, OSError


def _has_parts(kind: Any) -> bool:
    """Whether cells have named parts and are no pictures, of which `bytes` is one."""
    import pyarrow

    return pyarrow.types.is_struct(kind) and kind.get_field_index("bytes") < 0


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """The names of classes that `datasets` (Hugging Face) writes beside a column of their numbers."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        classes = {name: feature for name, feature in features.items() if feature.get("_type") == "ClassLabel"}
        return {name: list(map(str, feature["names"])) for name, feature in classes.items()}
    except (ValueError, AttributeError, KeyError, TypeError):  # a note of another form is no reason to refuse the data
        return {}


def _class_name(names: Sequence[str], cell: Any) -> Any:
    """The name of a class by its number; -1 is how `datasets` writes that there is none."""
    if not isinstance(cell, int):
        return cell
    return names[cell] if 0 <= cell < len(names) else (None if cell == -1 else cell)
