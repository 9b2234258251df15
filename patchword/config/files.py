"""Configurations as files: YAML and JSON in and out, the commented listing, the schema for editors."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from patchword.config.core import Config, config_in, config_in_mapping, field_docs, field_types, is_family
from patchword.config.errors import UserError


class _Loader(yaml.SafeLoader):
    """YAML 1.2's scalars (`3e-4` is a number; `no`, `on` and `1:30` are text) and no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, yaml.Node] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                line = key_node.start_mark.line + 1
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice (line {line})")
            seen[key] = key_node
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {}
_NUMBER_FIRST = list("-+.0123456789")
for _tag, _pattern, _first in [
    ("null", r"null|Null|NULL|~|", ["n", "N", "~", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9][0-9_]*", _NUMBER_FIRST),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        _NUMBER_FIRST,
    ),
]:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)
_Loader.add_constructor(  # base 10 only: a leading zero is no octal sign
    "tag:yaml.org,2002:int", lambda loader, node: int(str(loader.construct_scalar(node)).replace("_", ""))
)


def parse_yaml(text: str, source: str = "text") -> Any:
    """Plain data from YAML (JSON is a part of YAML).

    Raises:
        UserError: naming the line of what is not YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise UserError(f"{source}{where}: not valid YAML: {getattr(error, 'problem', None) or error}") from error


def read_file(path: str | Path) -> dict[str, Any]:
    """The mapping that a `.yaml`, `.yml` or `.json` file holds.

    Raises:
        UserError: the file is missing, not text, not YAML/JSON, or not a mapping.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise UserError(f"cannot read configuration {path}: {reason}") from error
    data = parse_yaml(text, str(path))
    if not isinstance(data, Mapping):
        raise UserError(f"{path}: should hold a mapping of settings, got {type(data).__name__}")
    return dict(data)


def to_json(config: Config) -> str:
    """The complete configuration as JSON."""
    return json.dumps(config.to_dict(), indent=2, ensure_ascii=False) + "\n"


def to_yaml(config: Config, comments: bool = True) -> str:
    """The complete configuration as YAML, with one comment line a field."""
    return "\n".join(_lines(config, "", comments)) + "\n"


def _lines(config: Config, indent: str, comments: bool) -> Iterator[str]:
    docs = field_docs(type(config))
    if hasattr(config, "kind"):
        if comments:
            yield f"{indent}# {_first_sentence(type(config).__doc__)} (kinds: {', '.join(sorted(config.kinds))})"
        yield f"{indent}kind: {config.kind}"
    for field in dataclasses.fields(config):
        if comments and docs.get(field.name):
            yield f"{indent}# {docs[field.name]}"
        value = getattr(config, field.name)
        if isinstance(value, Config):
            yield f"{indent}{field.name}:"
            yield from _lines(value, indent + "  ", comments)
        elif isinstance(value, dict) and value and all(isinstance(v, Config) for v in value.values()):
            yield f"{indent}{field.name}:"
            for key, part in value.items():
                yield f"{indent}  {_scalar(key)}:"
                yield from _lines(part, indent + "    ", comments)
        else:
            yield f"{indent}{field.name}: {_scalar(value)}"


def _first_sentence(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split()).rstrip(".")


def _scalar(value: Any) -> str:
    """One line of JSON, which is also YAML; plain where YAML reads the bare word back as the same text."""
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_./][\w./*-]*", value) and parse_yaml(value) == value:
        return value
    return json.dumps(value, ensure_ascii=False)


# ------------------------------------------------------------------ schema


def json_schema(cls: type[Config]) -> dict[str, Any]:
    """JSON Schema (2020-12) of a configuration, for completion and checking in editors."""
    definitions: dict[str, Any] = {}
    root = _reference(cls, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": cls.__name__,
        **root,
        "$defs": definitions,
    }


def _reference(cls: type[Config], definitions: dict[str, Any]) -> dict[str, Any]:
    if cls.__name__ not in definitions:
        definitions[cls.__name__] = {}  # taken before it is filled: configs may nest themselves
        definitions[cls.__name__] = (
            _family_schema(cls, definitions) if is_family(cls) else _object_schema(cls, definitions)
        )
    return {"$ref": f"#/$defs/{cls.__name__}"}


def _family_schema(cls: type[Config], definitions: dict[str, Any]) -> dict[str, Any]:
    kinds = [_reference(kind, definitions) for kind in cls.kinds.values()]
    return {"oneOf": [*kinds, {"enum": sorted(cls.kinds)}], "description": _first_sentence(cls.__doc__)}


def _object_schema(cls: type[Config], definitions: dict[str, Any]) -> dict[str, Any]:
    docs, properties = field_docs(cls), {}
    if hasattr(cls, "kind"):
        properties["kind"] = {"const": cls.kind}
    for name, hint in field_types(cls).items():
        properties[name] = _field_schema(hint, definitions) | ({"description": docs[name]} if name in docs else {})
    required = ["kind"] if hasattr(cls, "kind") else []
    required += [f.name for f in dataclasses.fields(cls) if f.default is f.default_factory is dataclasses.MISSING]
    return {
        "type": "object",
        "description": _first_sentence(cls.__doc__),
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _field_schema(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if (part := config_in_mapping(hint)) is not None:
        return {"type": "object", "additionalProperties": _reference(part, definitions)}
    if (part := config_in(hint)) is not None:
        reference = _reference(part, definitions)
        return reference if hint is part else {"anyOf": [reference, {"type": "null"}]}
    from pydantic import TypeAdapter

    return TypeAdapter(hint).json_schema()
