"""`metrics.jsonl`: one JSON object a line.

Every line has `kind`, `step`, `epoch` and `time` (seconds of training, without evaluating and saving).

- `train`: `loss` (nats an item, mean since the last line), `lr`, `grad_norm` (of this step, before clipping), `samples`
  (read since the start), `samples_per_second`, `tokens_per_second` (real text tokens), `data_wait` (share of the time).
- `eval`: `split`, `count`, `metrics` (by name), `best` (whether these weights are now the run's model), `seconds`.
- `bad`: `id`, `reason`, `message` of a sample that cannot be read.

A number that is not finite is null.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from patchword.config import UserError


class MetricsFile:
    """Appends lines; a line is there whole or not at all.

    Args:
        path: the file; made when it does not exist.
        size: bytes of it that count; the rest came after the checkpoint that training resumes from, and is cut off.
    """

    def __init__(self, path: Path, size: int | None = None) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)
        if size is not None and size < self.size:
            self._file.truncate(size)

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return os.fstat(self._file.fileno()).st_size

    def write(self, line: Mapping[str, Any]) -> None:
        """Append a line.

        Raises:
            OSError: the disk is full, or not writable; the file is then as before.
        """
        data, before = (json.dumps(finite(line), ensure_ascii=False) + "\n").encode(), self.size
        try:
            written = self._file.write(data)
        except OSError:
            written = 0
        if written != len(data):
            self._file.truncate(before)
            raise OSError(f"cannot write {self.path}: the disk is full or not writable")

    def sync(self) -> int:
        """Wait until all lines are on the disk; the size of the file then."""
        os.fsync(self._file.fileno())
        return self.size

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a `metrics.jsonl`, one after another.

    Raises:
        UserError: a line that is not one of ours, by number.
    """
    with path.open(encoding="utf-8") as file:
        for number, text in enumerate(file, 1):
            try:
                line = json.loads(text)
            except ValueError as error:
                if not text.endswith("\n"):
                    return  # the last line of a process that is still writing, or was killed
                raise UserError(f"{path}, line {number}: not JSON: {error}") from error
            yield line


def finite(value: Any) -> Any:
    """The same plain data with null for numbers that are not finite, which JSON does not know."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: finite(part) for key, part in value.items()}
    return value
