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

import ast
import dataclasses
import functools
import inspect
import math
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self, dataclass_transform

from patchword.config.errors import ConfigError, Problem, unknown


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field,))
class Config:
    """Frozen settings of one part. Field types and `problems()` are checked when it is made."""

    kinds: ClassVar[dict[str, type[Config]]]
    kind: ClassVar[str]
    family: ClassVar[str]
    shorthand: ClassVar[str | None] = None
    """Name of a mapping field whose entries may be addressed without it: `model.image` for `model.towers.image`."""
    implementation: ClassVar[Any] = None

    def __init_subclass__(cls, family: str | None = None, kind: str | None = None) -> None:
        super().__init_subclass__()
        dataclasses.dataclass(frozen=True, kw_only=True)(cls)
        if family is not None:
            cls.family, cls.kinds = family, {}
        if kind is not None:
            if kind in cls.kinds and cls.kinds[kind].__qualname__ != cls.__qualname__:
                raise ValueError(f"{cls.family} already has a kind named {kind!r}: {cls.kinds[kind].__qualname__}")
            cls.kind = kind
            cls.kinds[kind] = cls

    def __post_init__(self) -> None:
        found = []
        for name, hint in field_types(type(self)).items():
            value, wrong = _conform(getattr(self, name), hint)
            found += [Problem(name + path, message) for path, message in wrong]
            object.__setattr__(self, name, value)
        found = found or list(self.problems())
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
        """Plain data, complete: dicts, lists, strings, numbers, booleans, None."""
        out: dict[str, Any] = {"kind": self.kind} if hasattr(self, "kind") else {}
        return out | {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

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


def implements(config: type[Config]) -> Any:
    """Class decorator: objects of this class are what `config.build(...)` returns."""

    def note(cls: type) -> type:
        config.implementation = cls
        return cls

    return note


def is_family(cls: type) -> bool:
    """Whether a field of this type needs a `kind` to say which of several it is."""
    return bool(getattr(cls, "kinds", None)) and not hasattr(cls, "kind")


@functools.cache
def field_types(cls: type[Config]) -> dict[str, Any]:
    """The type of each field, in the order of declaration."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls)}


@functools.cache
def field_docs(cls: type[Config]) -> dict[str, str]:
    """The text under each field, on one line; inherited fields keep theirs."""
    docs: dict[str, str] = {}
    for base in reversed([c for c in cls.__mro__ if issubclass(c, Config) and c is not Config]):
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        except (OSError, TypeError, SyntaxError):  # a class typed at a prompt has no source
            continue
        assert isinstance(tree, ast.ClassDef)
        for line, after in zip(tree.body, tree.body[1:], strict=False):
            if not (isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name)):
                continue
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                docs[line.target.id] = " ".join(str(after.value.value).split())
    return docs


def config_in(hint: Any) -> type[Config] | None:
    """The config class in `X` or `X | None`; None for anything else."""
    for option in _options(hint):
        if isinstance(option, type) and issubclass(option, Config):
            return option
    return None


def config_in_mapping(hint: Any) -> type[Config] | None:
    """The config class in `dict[str, X]`; None for anything else."""
    if typing.get_origin(hint) is dict:
        return config_in(typing.get_args(hint)[1])
    return None


def _options(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)


def _plain(value: Any) -> Any:
    if isinstance(value, Config):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value


# ------------------------------------------------------------------ from plain data


def _load(data: Any, cls: type[Config], path: str) -> tuple[Any, list[Problem]]:
    if isinstance(data, cls):
        return data, []
    if isinstance(data, str) and is_family(cls):
        data = {"kind": data}
    if not isinstance(data, Mapping):
        return None, [Problem(path, f"should be a mapping of settings, got {data!r}")]
    data = dict(data)
    if (hasattr(cls, "kinds") and "kind" in data) or is_family(cls):
        if "kind" not in data:
            return None, [Problem(_join(path, "kind"), f"is missing; allowed: {', '.join(sorted(cls.kinds))}")]
        kind = data.pop("kind")
        if kind not in cls.kinds:
            return None, [Problem(_join(path, "kind"), unknown(f"{cls.family} kind", kind, cls.kinds))]
        cls = cls.kinds[kind]
    types_, found, values = field_types(cls), [], {}
    for key, value in data.items():
        if key not in types_:
            found.append(Problem(_join(path, key), unknown("field", key, types_)))
            continue
        values[key], wrong = _load_field(value, types_[key], _join(path, key))
        found += wrong
    required = {f.name for f in dataclasses.fields(cls) if f.default is f.default_factory is dataclasses.MISSING}
    found += [Problem(_join(path, name), "is required") for name in types_ if name in required - set(data)]
    if found:
        # the parts that did load are still worth checking: one message should name every problem
        good = {k: v for k, v in values.items() if not any(_within(p.path, _join(path, k)) for p in found)}
        if not (required - set(good)):
            found += [p for p in _make(cls, good, path)[1] if p not in found]
        return None, found
    return _make(cls, values, path)


def _load_field(value: Any, hint: Any, path: str) -> tuple[Any, list[Problem]]:
    if (part := config_in(hint)) is not None and not (value is None and type(None) in _options(hint)):
        return _load(value, part, path)
    if (part := config_in_mapping(hint)) is not None and isinstance(value, Mapping):
        pairs = {k: _load(v, part, _join(path, k)) for k, v in value.items()}
        return {k: v for k, (v, _) in pairs.items()}, [p for _, wrong in pairs.values() for p in wrong]
    return value, []


def _make(cls: type[Config], values: dict[str, Any], path: str) -> tuple[Any, list[Problem]]:
    try:
        return cls(**values), []
    except ConfigError as error:
        return None, error.under(path) if path else error.problems


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _within(path: str, parent: str) -> bool:
    return path == parent or path.startswith(parent + ".")


# ------------------------------------------------------------------ the type of one value


def _conform(value: Any, hint: Any) -> tuple[Any, list[tuple[str, str]]]:
    """The value as its type wants it (an int where a float is asked, a tuple for a list), and what is wrong with it."""
    part, mapped = config_in(hint), config_in_mapping(hint)
    if part is not None or mapped is not None:
        return _conform_config(value, hint, part, mapped)
    if isinstance(value, list) and any(typing.get_origin(o) is tuple for o in _options(hint)):
        value = tuple(value)
    from pydantic import ValidationError  # not at the top: `patchword --help` has no value to check

    try:
        checked = _adapter(hint).validate_python(value, strict=True)
    except ValidationError:
        return value, [("", _say(hint, value))]
    if isinstance(checked, float) and not math.isfinite(checked):
        return value, [("", f"should be a finite number, got {value!r}")]
    return checked, []


def _conform_config(value: Any, hint: Any, part: Any, mapped: Any) -> tuple[Any, list[tuple[str, str]]]:
    if mapped is not None:
        if not isinstance(value, Mapping):
            return value, [("", f"should be a mapping of {mapped.__name__}, got {value!r}")]
        wrong = [
            (f".{k}", f"should be a {mapped.__name__}, got {v!r}")
            for k, v in value.items()
            if not isinstance(v, mapped)
        ]
        return dict(value), wrong
    if isinstance(value, part) or (value is None and type(None) in _options(hint)):
        return value, []
    return value, [("", f"should be a {part.__name__}, got {value!r}")]


@functools.cache
def _adapter(hint: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(hint)


_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}


def describe(hint: Any) -> str:
    """A type in a user's words: `a whole number > 0 or null`, `one of a, b`."""
    return " or ".join(_describe_option(option) for option in _options(hint))


def _describe_option(option: Any) -> str:
    origin, args = typing.get_origin(option), typing.get_args(option)
    if origin is typing.Literal:
        return "one of " + ", ".join(str(a) for a in args)
    if origin is typing.Annotated:
        return " ".join([describe(args[0]), *(_describe_limit(m) for m in args[1:])])
    if origin is tuple and Ellipsis not in args:
        return f"a list of {len(args)}: " + ", ".join(describe(a) for a in args)
    if origin in (tuple, list):
        return f"a list of {describe(args[0])}"
    if origin is dict:
        return f"a mapping to {describe(args[1])}"
    return _WORDS.get(option, getattr(option, "__name__", str(option)))


def _describe_limit(limit: Any) -> str:
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    return " ".join(f"{sign} {getattr(limit, name)}" for name, sign in signs.items() if hasattr(limit, name))


def _say(hint: Any, value: Any) -> str:
    choices = [str(a) for o in _options(hint) if typing.get_origin(o) is typing.Literal for a in typing.get_args(o)]
    if choices and isinstance(value, str):
        return unknown("value", value, choices)
    return f"should be {describe(hint)}, got {value!r}"
