"""Whether a run may be continued with these settings and this data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from patchword.config import RunConfig, UserError

_FREE = {
    "name",
    "data.source",  # data may move; that it is the same is checked by its digest
    "data.image.cache",
    "data.workers",
    *(
        f"train.{name}"
        for name in ("steps", "epochs", "minutes", "patience", "log_every", "save_every", "save_minutes", "keep")
    ),
    *(f"train.{name}" for name in ("device", "threads", "compile", "checkpoint_blocks")),
}
"""What may change when a run is resumed: how long it goes on, and what does not decide its result."""


def check_same(old: RunConfig, new: RunConfig, path: Path) -> None:
    """Make sure that the run in `path` goes on as it began.

    Raises:
        UserError: naming every setting that would change its result.
    """
    before, now = dict(_flat(old.to_dict())), dict(_flat(new.to_dict()))
    differ = [
        f"  {key}: {_say(before, key)} there, {_say(now, key)} here"
        for key in sorted(before.keys() | now.keys())
        if key not in _FREE and (key not in before or key not in now or before[key] != now[key])
    ]
    if differ:
        lines = "\n".join(differ)
        raise UserError(f"{path} was begun with other settings; resume with the same, or name another folder:\n{lines}")


def data_digest(lengths: np.ndarray, answers: np.ndarray) -> dict[str, Any]:
    """What tells the training examples from others: their number, and a digest of lengths and answers in order."""
    raw = b"".join(np.ascontiguousarray(numbers, dtype="<i8").tobytes() for numbers in (lengths, answers))
    return {"examples": len(lengths), "digest": hashlib.sha256(raw).hexdigest()}


def check_data(old: Mapping[str, Any], new: Mapping[str, Any], path: Path) -> None:
    """Make sure that the data is what the run in `path` began with.

    Raises:
        UserError: it is not.
    """
    if old != new:
        counts = f"{old['examples']} training examples there, {new['examples']} here"
        detail = counts if old["examples"] != new["examples"] else "as many examples, but others"
        raise UserError(f"{path} was begun with other data ({detail}); resume with the same, or name another folder")


def _flat(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _say(flat: Mapping[str, Any], key: str) -> str:
    return repr(flat[key]) if key in flat else "nothing"
