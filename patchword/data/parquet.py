"""Tables in Apache Parquet files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from patchword.config import UserError
from patchword.data.tables import Row


class ParquetTable:
    """An Apache Parquet file; columns that nobody wants are not read."""

    unit = "row"

    def __init__(self, name: str, data: bytes) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise UserError(f"{name}: parquet needs pyarrow; pip install 'patchword[parquet]'") from error
        self.name = name
        self._errors = (pyarrow.ArrowException, OSError)
        try:
            self._file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(data))
        except self._errors as error:
            raise UserError(f"{name}: not a parquet file, or damaged ({error})") from error
        self.columns = tuple(self._file.schema_arrow.names)
        self._classes = _class_names(self._file.schema_arrow.metadata or {})

    def rows(self, wanted: Sequence[str]) -> Iterator[Row]:
        """Each row, counted from 1."""
        number = 0
        try:
            for batch in self._file.iter_batches(columns=list(wanted)):
                columns = batch.to_pydict()
                for name in self._classes.keys() & columns.keys():
                    columns[name] = [_class_name(self._classes[name], cell) for cell in columns[name]]
                for cells in zip(*(columns[name] for name in wanted), strict=True):
                    number += 1
                    yield Row(number, cells)
        except self._errors as error:
            raise UserError(f"{self.name}: damaged after row {number} ({error})") from error


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
