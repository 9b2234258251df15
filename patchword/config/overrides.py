"""Dotted overrides: `train.steps=500 model.image.attention.kind=linear` laid over a configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from patchword.config.core import Config, config_in, config_in_mapping, field_types, is_family
from patchword.config.errors import ConfigError, Problem, UserError, unknown
from patchword.config.files import parse_yaml

C = TypeVar("C", bound=Config)


def parse_overrides(words: Sequence[str]) -> dict[str, Any]:
    """`["train.steps=500"]` to `{"train.steps": 500}`; values are read as YAML.

    Raises:
        UserError: a word without `=` or without a key, or a key given twice.
    """
    out: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UserError(f"override {word!r}: should look like train.steps=500")
        if key in out:
            raise UserError(f"override {key!r} is given twice: {out[key]!r} and {value!r}")
        out[key] = parse_yaml(value, f"override {key}")
    return out


def override(config: C, changes: Mapping[str, Any], source: str = "overrides") -> C:
    """A copy of `config` with dotted fields changed.

    A changed `kind` keeps what all kinds of the family share, drops what belonged to the old kind alone, and takes the
    new kind's defaults for the rest; so kinds are changed first, whatever the order of `changes`.

    Raises:
        ConfigError: naming every path that does not exist or does not hold such a value.
    """
    data, found = config.to_dict(), []
    by_kind_first = sorted(
        changes, key=lambda path: (not path.endswith(".kind"), path.count(".") * path.endswith(".kind"))
    )
    for path in by_kind_first:
        try:
            _set(data, type(config), path.split("."), changes[path], path)
        except ConfigError as error:
            found += error.problems
    try:
        changed = type(config).from_dict(data, source)
    except ConfigError as error:
        found += [p for p in error.problems if p not in found]
    if found:
        raise ConfigError(found, source)
    return changed  # pyright: ignore[reportPossiblyUnboundVariable]


def _set(data: dict[str, Any], cls: type[Config], keys: list[str], value: Any, path: str) -> None:
    """Set one value in plain data that a config of class `cls` would take."""
    cls = _concrete(cls, data)
    key, rest = keys[0], keys[1:]
    if not rest and key == "kind" and hasattr(cls, "kinds"):
        _change_kind(data, cls, value, path)
        return None
    types = field_types(cls)
    if key not in types and cls.shorthand is not None and key in data.get(cls.shorthand, {}):
        return _set(data, cls, [cls.shorthand, *keys], value, path)
    if key not in types:
        near = list(types) + list(data.get(cls.shorthand, {}) if cls.shorthand else [])
        raise ConfigError([Problem(path, unknown("field", key, near))])
    if not rest:
        data[key] = _merged_kind(data.get(key), types[key], value, path)
        return None
    if (part := config_in_mapping(types[key])) is not None:
        if len(rest) == 1:
            data[key] = {**(data[key] or {}), rest[0]: value}
            return None
        data[key].setdefault(rest[0], {})
        return _set(data[key][rest[0]], part, rest[1:], value, path)
    part = config_in(types[key])
    if part is None:
        raise ConfigError([Problem(path, f"{key} holds one value and has no field {rest[0]!r}")])
    if data.get(key) is None:
        data[key] = {"kind": next(iter(part.kinds))} if is_family(part) else {}
    _set(data[key], part, rest, value, path)


def _merged_kind(old: Any, hint: Any, value: Any, path: str) -> Any:
    """`model.norm=rmsnorm` is a change of kind; any other value stands for itself."""
    part = config_in(hint)
    if part is None or not isinstance(value, str) or not is_family(part) or not isinstance(old, dict):
        return value
    _change_kind(old, _concrete(part, old), value, path)
    return old


def _concrete(cls: type[Config], data: dict[str, Any]) -> type[Config]:
    kinds = getattr(cls, "kinds", {})
    return kinds.get(data.get("kind"), cls) if kinds else cls


def _change_kind(data: dict[str, Any], old: type[Config], kind: Any, path: str) -> None:
    if kind not in old.kinds:
        raise ConfigError([Problem(path, unknown(f"{old.family} kind", kind, old.kinds))])
    if data.get("kind") == kind:
        return
    family = next(c for c in old.__mro__ if "kinds" in vars(c))
    shared = set(field_types(family)) & set(field_types(old.kinds[kind]))
    for key in [k for k in data if k not in shared]:
        del data[key]
    data["kind"] = kind
