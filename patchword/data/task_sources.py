"""A source for each of several tasks, as one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from patchword.config import UserError
from patchword.data.base import Record, Split
from patchword.data.file_source import NotedSource, Notes


class TaskSplits:
    """The split of one name of several sources; on its own it shows the first one's records."""

    def __init__(self, name: str, of: Mapping[str, Split]) -> None:
        self.name, self.of = name, of
        self._first = next(iter(of.values()))

    def __len__(self) -> int:
        return len(self._first)

    def record(self, index: int) -> Record:
        """Record `index` of the first."""
        return self._first.record(index)

    def read(self, index: int) -> bytes | np.ndarray:
        """The picture of that record."""
        return self._first.read(index)


class TaskSources:
    """Sources by the name of the task that reads them; splits are those that all of them have.

    Raises:
        UserError: they have no split in common.
    """

    def __init__(self, of: Mapping[str, NotedSource]) -> None:
        self.of = of
        self._first = next(iter(of.values()))
        self.name = ", ".join(dict.fromkeys(source.name for source in of.values()))
        self.has_pictures = self._first.has_pictures
        common = [name for name in self._first.splits if all(name in source.splits for source in of.values())]
        if not common:
            raise UserError(f"{self.name}: the tasks' data have no split in common")
        self.splits: Mapping[str, Split] = {
            name: TaskSplits(name, {task: source.splits[name] for task, source in of.items()}) for name in common
        }
        self.notes: Notes = self._first.notes

    def describes(self, split: str, index: int, caption: str) -> bool | None:
        """What the first knows."""
        return self._first.describes(split, index, caption)

    def group(self, split: str, index: int) -> str | None:
        """What the first says."""
        return self._first.group(split, index)
