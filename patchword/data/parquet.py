"""Tables in Apache Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from patchword.config import UserError
from patchword.data.arrow import ArrowTable, errors, needs_pyarrow


class ParquetTable(ArrowTable):
    """An Apache Parquet file."""

    def __init__(self, name: str, data: bytes) -> None:
        needs_pyarrow(name, "parquet", "parquet")
        import pyarrow.parquet

        try:
            self._file = pyarrow.parquet.ParquetFile(pyarrow.BufferReader(data))
        except errors() as error:
            raise UserError(f"{name}: not a parquet file, or damaged ({error})") from error
        super().__init__(name, self._file.schema_arrow)

    def batches(self, columns: Sequence[str]) -> Iterator[Any]:
        """Some thousand rows at a time."""
        return self._file.iter_batches(columns=list(columns))
