"""Typed settings: frozen dataclasses, families of kinds, plain data in and out.

A `Config` holds choices and nothing else. The *class* of a config chooses the class that is built from it, so nothing
outside this file ever asks which kind it has. A family is a config class whose kinds are its subclasses:

    class NormConfig(Config, family="norm"): ...
    class RMSNormConfig(NormConfig, kind="rmsnorm"):
        eps: float = 1e-6
        \"\"\"Added to the mean square.\"\"\"

The text under a field is its documentation: `patchword show` prints it, editors show it.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Self, dataclass_transform

from patchword.config.errors import ConfigError, Problem, nearest, shown, unknown
from patchword.config.values import conform, options


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field,))
class Config:
    """Frozen settings of one part. Field types and `problems()` are checked when it is made."""

    kinds: ClassVar[dict[str, type[Config]]]
    kind: ClassVar[str]
    family: ClassVar[str]
    shorthand: ClassVar[str | None] = None
    """Name of a mapping field whose entries may be addressed without it: `model.image` for `model.towers.image`."""
    gone: ClassVar[frozenset[str]] = frozenset()
    """Settings that there were: files of before may have them as null."""
    implementation: ClassVar[Any] = None
    if typing.TYPE_CHECKING:
        __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def __init_subclass__(cls, family: str | None = None, kind: str | None = None) -> None:
        super().__init_subclass__()
        dataclasses.dataclass(frozen=True, kw_only=True)(cls)
        if family is not None:
            cls.family, cls.kinds = family, {}
        if kind is not None:
            _enrol(cls, kind)

    def __post_init__(self) -> None:
        if is_family(type(self)):
            raise TypeError(f"{type(self).__name__} is a family: make one of {', '.join(sorted(self.kinds))}")
        found: list[Problem] = []
        for name, hint in field_types(type(self)).items():
            value = getattr(self, name)
            if value is self.__dataclass_fields__[name].default:
                continue
            value, wrong = _conform(value, hint, name)
            found += wrong
            object.__setattr__(self, name, UNREAD if wrong else value)
        if not _unread(vars(self)):  # nothing is said of guesses
            found += self.problems()
        if found:
            raise ConfigError(found, type(self).__name__)

    def problems(self) -> Iterator[Problem]:
        """What is wrong between the fields (each field alone is right when this runs)."""
        yield from ()

    def build(self, *args: Any) -> Any:
        """The part that these settings describe; `args` are what only its surroundings know, such as widths."""
        if self.implementation is None:
            raise LookupError(f"nothing implements {type(self).__name__}: import the module that does")
        return type(self).implementation(self, *args)  # through the class: a function must not become a method

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed (and checked again)."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, complete: dicts, lists, strings, numbers, booleans, None.

        Raises:
            TypeError: the class was derived from a kind and has none of its own, by which a file could name it.
        """
        out: dict[str, Any] = {}
        if hasattr(self, "kind"):
            if not _same(self.kinds.get(self.kind, type(self)), type(self)):
                raise TypeError(f"{type(self).__name__} needs a kind of its own: {self.kind!r} names another class")
            out["kind"] = self.kind
        return out | {name: _to_plain(getattr(self, name)) for name in field_types(type(self))}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], source: str = "configuration") -> Self:
        """The inverse of `to_dict`; missing keys take their defaults.

        Raises:
            ConfigError: naming every problem in `data`, each with its path.
        """
        value, found = _load(data, cls, "")
        if found:
            raise ConfigError(found, source)
        return value


def implements(config: type[Config]) -> Callable[[Any], Any]:
    """Class decorator: objects of this class are what `config.build(...)` returns (a function: its results are)."""

    def note(built: Any) -> Any:
        config.implementation = built
        return built

    return note


def _enrol(cls: type[Config], kind: str) -> None:
    if not hasattr(cls, "kinds"):
        raise TypeError(f"{cls.__name__} has a kind, {kind!r}, but is of no family")
    there = cls.kinds.get(kind, cls)
    if not _same(there, cls):
        raise ValueError(f"{cls.family} already has a kind named {kind!r}: {there.__module__}.{there.__qualname__}")
    cls.kind = kind
    cls.kinds[kind] = cls


def _same(one: type, other: type) -> bool:
    """Whether two classes stand at the same place of the source: a module may be loaded again."""
    return (one.__module__, one.__qualname__) == (other.__module__, other.__qualname__)


# ------------------------------------------------------------------ what a class of settings is made of


def is_family(cls: type[Config]) -> bool:
    """Whether a field of this type needs a `kind` to say which of several it is."""
    return hasattr(cls, "kinds") and not hasattr(cls, "kind")


def kinds_of(cls: type[Config]) -> dict[str, type[Config]]:
    """The kinds that may stand where a field has this type, the family's default first; empty where it has none."""
    return {name: kind for name, kind in getattr(cls, "kinds", {}).items() if issubclass(kind, cls)}


@functools.cache
def field_types(cls: type[Config]) -> dict[str, Any]:
    """The type of each field, in the order of declaration."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls)}


@functools.cache
def required_fields(cls: type[Config]) -> frozenset[str]:
    """Names of the fields that have no default."""
    fields = dataclasses.fields(cls)
    return frozenset(f.name for f in fields if f.default is f.default_factory is dataclasses.MISSING)


def config_in(hint: Any) -> type[Config] | None:
    """The config class in `X` or `X | None`; None for anything else."""
    for option in options(hint):
        if isinstance(option, type) and issubclass(option, Config):
            return option
    return None


def config_in_mapping(hint: Any) -> type[Config] | None:
    """The config class in `dict[str, X]`; None for anything else."""
    if typing.get_origin(hint) is dict:
        return config_in(typing.get_args(hint)[1])
    return None


# ------------------------------------------------------------------ the value of one field


UNREAD: Any = object()
"""Stands for a setting that could not be read, and of which a problem has been noted."""


def _unread(values: Mapping[str, Any]) -> bool:
    """Whether any of these is, or holds, what could not be read."""
    return any(v is UNREAD or (isinstance(v, Mapping) and _unread(v)) for v in values.values())


def _conform(value: Any, hint: Any, path: str) -> tuple[Any, list[Problem]]:
    """The value as its type wants it, and what is wrong with it."""
    if value is UNREAD:
        return value, []
    if (part := config_in_mapping(hint)) is not None:
        return _conform_parts(value, part, path)
    if (part := config_in(hint)) is not None:
        wrong = Problem(path, f"should be {part.__name__}, got {shown(value)}")
        return value, [] if _fits(value, hint, part) else [wrong]
    try:
        return conform(value, hint), []
    except ValueError as error:
        return value, [Problem(path, str(error))]


def _conform_parts(value: Any, part: type[Config], path: str) -> tuple[Any, list[Problem]]:
    if not isinstance(value, Mapping):
        return value, [Problem(path, f"should be a mapping of names to settings, got {shown(value)}")]
    wrong = []
    for name, item in value.items():
        if not isinstance(name, str) or not name or "." in name or name == "kind":
            wrong.append(Problem(path, f"cannot hold the name {shown(name)}: should be text without dots, not 'kind'"))
        elif item is not UNREAD and not _is_a(item, part):
            wrong.append(Problem(_join(path, name), f"should be {part.__name__}, got {shown(item)}"))
    return dict(value), wrong


def _fits(value: Any, hint: Any, part: type[Config]) -> bool:
    return _is_a(value, part) or (value is None and types.NoneType in options(hint))


def _is_a(value: Any, cls: type[Config]) -> bool:
    """Whether a field of type `cls` may hold this; a tower, though a kind of stack, could not be read back as one."""
    return isinstance(value, cls) and (bool(kinds_of(cls)) or type(value) is cls)


def _to_plain(value: Any) -> Any:
    if isinstance(value, Config):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {key: _to_plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_to_plain(item) for item in value]
    return value


# ------------------------------------------------------------------ from plain data


def _load(data: Any, cls: type[Config], path: str) -> tuple[Any, list[Problem]]:
    if _is_a(data, cls) or data is UNREAD:
        return data, []
    if isinstance(data, str) and is_family(cls):
        data = {"kind": data}
    if not isinstance(data, Mapping):
        kinds = f", or one of {', '.join(sorted(kinds_of(cls)))}" if is_family(cls) else ""
        return UNREAD, [Problem(path, f"should be a mapping of settings{kinds}, got {shown(data)}")]
    if (kinds := kinds_of(cls)) and (is_family(cls) or "kind" in data):
        if "kind" not in data:
            return UNREAD, [Problem(_join(path, "kind"), f"is missing; allowed: {', '.join(sorted(kinds))}")]
        kind = data["kind"]
        if not isinstance(kind, str) or kind not in kinds:
            return UNREAD, [Problem(_join(path, "kind"), unknown(f"{cls.family} kind", kind, kinds))]
        cls, data = kinds[kind], {key: value for key, value in data.items() if key != "kind"}
    hints, values, found = field_types(cls), {}, []
    for key, value in data.items():
        if key in hints:
            values[key], wrong = _load_field(value, hints[key], _join(path, key))
            found += wrong
        elif value is not None or key not in cls.gone:
            found.append(Problem(_join(path, key), unknown("field", key, hints)))
            if (meant := nearest(key, [name for name in hints if name not in data])) is not None:
                values[meant] = UNREAD  # a misspelt field is not judged by its default
    for name in [name for name in hints if name in required_fields(cls) - set(values)]:
        values[name] = UNREAD
        found.append(Problem(_join(path, name), "is required"))
    try:
        made = cls(**values)
    except ConfigError as error:
        return UNREAD, found + (error.under(path) if path else error.problems)
    return (UNREAD if found or _unread(values) else made), found


def _load_field(value: Any, hint: Any, path: str) -> tuple[Any, list[Problem]]:
    if (part := config_in(hint)) is not None and not _fits(value, hint, part):
        return _load(value, part, path)
    if (part := config_in_mapping(hint)) is not None and isinstance(value, Mapping):
        loaded = {name: _load(item, part, _join(path, name)) for name, item in value.items()}
        return {name: item for name, (item, _) in loaded.items()}, [p for _, wrong in loaded.values() for p in wrong]
    return value, []


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)
