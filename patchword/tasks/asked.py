"""One thing that a model is asked about a record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Asked(NamedTuple):
    """What is read beside the picture, and what people say to it."""

    reads: Mapping[str, str]
    """The text that each reading tower gets, by the tower's name."""
    answers: tuple[str, ...]
    """What people say: captions, translations, answers, the class; at least one."""
    group: str | None = None
    """What it is counted with when metrics are also given by group."""


def asked_name(record: str, number: int, count: int) -> str:
    """What number `number` of `count` things asked about a record is called in messages and predictions."""
    return record if count == 1 else f"{record} ({number + 1})"
