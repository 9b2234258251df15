"""The classes that a model can say: those of its training data, sorted, kept with it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from patchword.config import UserError, nearest, read_file

FILE = "labels.json"
UNSEEN = -1
"""Stands for a class that training never saw."""


class Labels:
    """Names of classes, each with its number."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._numbers = {name: number for number, name in enumerate(self.names)}

    @classmethod
    def of(cls, names: Iterable[str], where: str, most: int | None = None) -> Labels:
        """The classes that samples are of, sorted.

        Args:
            names: the class of each sample.
            where: what the samples are of, for the message.
            most: only so many, the most frequent (of equally frequent ones, those that sort first); None: all.

        Raises:
            UserError: there are fewer than two.
        """
        counts = Counter(names)
        if len(counts) < 2:
            there = f"all {counts.total()} samples are {next(iter(counts))!r}" if counts else "it has no samples"
            raise UserError(f"{where} has no two classes to tell apart: {there}")
        return cls(sorted(sorted(counts, key=lambda name: (-counts[name], name))[:most]))

    @classmethod
    def load(cls, folder: Path) -> Labels:
        """What `save` wrote.

        Raises:
            UserError: the file is missing or holds something else.
        """
        names = read_file(folder / FILE).get("labels")
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names) or len(set(names)) != len(names):
            raise UserError(f"{folder / FILE}: labels should be a list of different names")
        return cls(names)

    def save(self, folder: Path) -> None:
        """Write `labels.json`."""
        text = json.dumps({"labels": self.names}, ensure_ascii=False, indent=1)
        (folder / FILE).write_text(text + "\n", encoding="utf-8")

    def __len__(self) -> int:
        return len(self.names)

    def number(self, name: str) -> int:
        """The number of a class; `UNSEEN` where training had none of that name."""
        return self._numbers.get(name, UNSEEN)

    def weights(self, given: Mapping[str, float]) -> list[float]:
        """What a sample of each class counts: as given, 1 for the others.

        Raises:
            UserError: a weight is for a class that there is not.
        """
        for name in given:
            if name not in self._numbers:
                guess = nearest(name, self.names)
                hint = f"; did you mean {guess!r}?" if guess else f" (there are {len(self)}, {self.names[0]!r} ...)"
                raise UserError(f"task.class_weights: no class of the training data is named {name!r}{hint}")
        return [given.get(name, 1.0) for name in self.names]
