"""Any preset at a size that trains in a second: the same parts, less of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from patchword.config import RunConfig
from patchword.models.presets import preset

SIDE, PATCH = 32, 16


def _at_most(most: int) -> Callable[[Any], Any]:
    return lambda value: value if value is None else min(value, most)


_SMALLER: dict[str, Callable[[Any], Any]] = {
    "dim": lambda _: 32,
    "in_dim": _at_most(32),
    "out_dim": lambda value: None if value is None else 16,
    "hidden_dim": lambda value: None if value is None else 48,
    "head_dim": lambda value: None if value is None else 16,
    "depth": _at_most(2),
    "num_heads": lambda _: 2,
    "num_kv_heads": lambda value: None if value is None else 1,
    "num_classes": lambda _: None,
    "min_rows": lambda _: None,
    "num_queries": _at_most(2),
    "vocab_size": lambda value: None if value is None else 400,
    "max_len": _at_most(48),
    "pooled_len": _at_most(4),
    "image_size": lambda _: [SIDE, SIDE],
    "patch_size": lambda _: [PATCH, PATCH],
    "stem": lambda value: [8] * min(len(value), 2),
    "grid": _at_most(SIDE // PATCH),
    "dropout": lambda _: 0.0,
    "embed_dropout": lambda _: 0.0,
    "drop_path": lambda _: 0.0,
    "label_smoothing": lambda _: 0.0,
}
"""What becomes of a setting of a model or a task, by its name."""


_DATA: dict[str, Any] = {
    "source": "scenes",
    "table": None,
    "images": None,
    "workers": 0,
    "image.height": SIDE,
    "image.width": SIDE,
    "image.resize": "crop",
    "image.cache": "none",
    "splits.lists": {},
    "batch.size": 16,
    "batch.captions": 1,
    "batch.max_tokens": None,
    "scenes.train": 256,
    "scenes.val": 8,
    "scenes.test": 8,
}
_TRAIN: dict[str, Any] = {
    "optimizer.lr": 3e-3,
    "schedule.warmup": 3,
    "device": "cpu",
    "threads": None,
    "precision": "fp32",
    "compile": False,
    "accumulate": 1,
    "minutes": None,
    "eval_every": None,
    "eval_samples": 4,
    "save_every": None,
    "log_every": 1,
}


def shrunk(preset_name: str, steps: int = 30) -> RunConfig:
    """A preset with the widths and depths of a toy, for `steps` steps on a few embedded scenes."""
    data = preset(preset_name).to_dict()
    small = data | {"model": _smaller(data["model"]), "task": _smaller(data["task"])}
    table = {head["text"] for head in data["model"]["heads"].values() if head["kind"] == "scores"}
    for name, tower in small["model"]["towers"].items():
        if name in table:  # its width is the size of its vocabulary
            tower |= {key: data["model"]["towers"][name][key] for key in ("dim", "vocab_size")}
        elif tower["kind"] == "text":
            tower["vocab_size"] = None  # as many as the toy's tokenizer has
    tokenizer = data["data"]["tokenizer"]
    if "vocab_size" in tokenizer:
        tokenizer["vocab_size"] = min(tokenizer["vocab_size"], 400)
    for room, changes in (("data", _DATA), ("train", _TRAIN | {"steps": steps})):
        for path, value in changes.items():
            _set(small[room], path.split("."), value)
    return RunConfig.from_dict(small)


def _set(data: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        data = data[name]
    assert path[-1] in data, f"there is no setting {path[-1]}"
    data[path[-1]] = value


def _smaller(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _SMALLER[k](v) if k in _SMALLER else _smaller(v) for k, v in value.items()}
    return [_smaller(v) for v in value] if isinstance(value, list) else value
