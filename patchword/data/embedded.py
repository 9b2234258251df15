"""The data sets that are made up, not read, and which settings of data can mean nothing for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from patchword.config import DataConfig, Fields, UserError
from patchword.data.digit_source import DigitSource
from patchword.data.file_source import NotedSource
from patchword.data.scene_source import SceneSource

EMBEDDED: dict[str, Callable[[DataConfig, Fields], NotedSource]] = {"scenes": SceneSource, "digits": DigitSource}
"""By name; a folder of such a name is reached as `./scenes`."""

_NO_FILES = "the embedded data set has no files"
_WHY = {
    "table": _NO_FILES,
    "images": _NO_FILES,
    "columns": "the embedded data set has no columns; what is read of it is what the task reads",
    "splits": "the embedded data set has splits of its own (data.{source}.train, val and test are their sizes)",
}
"""What files alone can be told, and why."""


def fitting(config: DataConfig) -> DataConfig:
    """The same; of an embedded source, without what was told of other data and could mean nothing for it."""
    if config.source not in EMBEDDED:
        return config
    plain, others = DataConfig(), [name for name in EMBEDDED if name != config.source]
    return config.replace(**{name: getattr(plain, name) for name in (*_WHY, *others)})


def open_embedded(config: DataConfig, fields: Fields) -> NotedSource:
    """Pictures of scenes, or numbers.

    Raises:
        UserError: it lacks what is read, or a setting is not as it comes though it could change nothing.
    """
    source = EMBEDDED[config.source](config, fields)
    whys = _WHY | {name: f"data.source is {config.source}" for name in EMBEDDED if name != config.source}
    if not source.has_pictures:
        whys["image"] = "the embedded {source} have no pictures"
    given, plain = config.to_dict(), DataConfig().to_dict()
    for name, why in whys.items():
        for path, value in _changed(f"data.{name}", given[name], plain[name]):
            raise UserError(f"{path}={value}: {why.format(source=config.source)}")
    return source


def _changed(path: str, value: Any, plain: Any) -> Iterator[tuple[str, Any]]:
    """The settings in `value` that are not as they come, with their paths."""
    if isinstance(value, Mapping):
        for key, own in value.items():
            yield from _changed(f"{path}.{key}", own, plain.get(key) if isinstance(plain, Mapping) else None)
    elif value != plain:
        yield path, value
