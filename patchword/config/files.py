"""Configurations as files: YAML and JSON read strictly, and every mistake in them named with its line."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from patchword.config.errors import UserError


def read_file(path: str | Path) -> dict[str, Any]:
    """The mapping that a `.yaml`, `.yml` or `.json` file holds.

    Raises:
        UserError: the file is missing, not text, not YAML/JSON, or not a mapping.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"cannot read configuration {path}: is not UTF-8 text") from error
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read configuration {path}: {getattr(error, 'strerror', None) or error}") from error
    parse = parse_json if path.suffix.lower() == ".json" else parse_yaml
    data = parse(text, str(path))
    if data is None:
        raise UserError(f"{path}: is empty: should hold a mapping of settings")
    if not isinstance(data, Mapping):
        raise UserError(f"{path}: should hold a mapping of settings, got {_NAMES.get(type(data), type(data).__name__)}")
    return dict(data)


_NAMES: dict[type, str] = {list: "a list", str: "text", int: "a number", float: "a number", bool: "true or false"}

MAX_DEPTH = 64
"""Deepest nesting; a configuration has about ten levels."""
MAX_VALUES = 100_000
"""Most values, an alias counted as all that it stands for; a configuration has some hundreds."""

# ------------------------------------------------------------------ JSON


def parse_json(text: str, source: str = "text") -> Any:
    """Plain data from JSON; None from nothing.

    Raises:
        UserError: naming the line of what is not JSON, or a key that stands twice.
    """
    if not text.strip():
        return None
    try:
        data = json.loads(text, object_pairs_hook=_no_key_twice)
        if _depth(data, 0) > MAX_DEPTH:
            raise RecursionError
        return data
    except json.JSONDecodeError as error:
        raise UserError(f"{source}, line {error.lineno}: not valid JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{source}: not valid JSON: {_reason(error)}") from error


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for key, value in pairs:
        if key in seen:
            raise ValueError(f"key {key!r} stands twice")
        seen[key] = value
    return seen


def _depth(data: Any, above: int) -> int:
    parts = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    return max((_depth(part, above + 1) for part in parts), default=above)


def _reason(error: Exception) -> str:
    return "is nested too deeply" if isinstance(error, RecursionError) else str(error)


# ------------------------------------------------------------------ YAML


def parse_yaml(text: str, source: str = "text") -> Any:
    """Plain data from YAML.

    Raises:
        UserError: naming the line of what is not YAML, of a key that stands twice, or of a tag.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, int(error.position)) + 1
        raise UserError(
            f"{source}, line {line}: not valid YAML: the character U+{int(error.character):04X} is not allowed"
        ) from error
    except yaml.MarkedYAMLError as error:
        where = f", line {error.problem_mark.line + 1}" if error.problem_mark is not None else ""
        problem = error.problem or error.context or "cannot be read"
        hint = " (a tab does not indent: use blanks)" if "'\\t'" in problem else ""
        raise UserError(f"{source}{where}: not valid YAML: {problem}{hint}") from error
    except RecursionError as error:
        raise UserError(f"{source}: not valid YAML: {_reason(error)}") from error


class _Loader(yaml.SafeLoader):
    """YAML 1.2's scalars (`3e-4` is a number; `no`, `on` and `1:30` are text), no key twice, no tags."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  none of YAML 1.1's

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None:
            _measure(node, {}, 1)
        return node

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if getattr(event, "tag", None) not in (None, "!"):
            raise _fault(f"settings are plain data and have no tags: {event.tag}", event)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise _fault("a key should be one word", key_node)
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise _fault(f"key {key!r} stands twice", key_node)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_int(self, node: yaml.ScalarNode) -> int:
        """Base 10 only: a leading zero is no octal sign."""
        try:
            return int(self.construct_scalar(node).replace("_", ""))
        except ValueError as error:  # thousands of digits
            raise _fault("a number is too long", node) from error


def _measure(node: yaml.Node, known: dict[int, tuple[int, int]], level: int) -> tuple[int, int]:
    """Values in a node and its depth, with aliases written out."""
    if isinstance(node, yaml.ScalarNode):
        return 1, 1
    count, depth = known.get(id(node), (0, 0))
    if not count:
        known[id(node)] = MAX_VALUES + 1, 1  # until it is known: what holds itself has no end
        below = [part for pair in node.value for part in (pair if isinstance(pair, tuple) else (pair,))]
        sizes = [_measure(part, known, level + 1) for part in below]
        count, depth = 1 + sum(count for count, _ in sizes), 1 + max((depth for _, depth in sizes), default=0)
        known[id(node)] = count, depth
    if count > MAX_VALUES:
        raise _fault(f"more than {MAX_VALUES} values, aliases written out", node)
    if level + depth > MAX_DEPTH:
        raise _fault("is nested too deeply", node)
    return count, depth


def has_comment(text: str) -> bool:
    """Whether YAML takes a part of this text for a comment."""
    if "#" not in text:
        return False
    node = yaml.compose(text, Loader=_Loader)
    return bool(text[node.end_mark.index if node is not None else 0 :].strip())


def _fault(problem: str, place: Any) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, problem, place.start_mark)


_NUMBER_FIRST = list("-+.0123456789")
_FLOAT = r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
for _tag, _pattern, _first in [
    ("null", r"null|Null|NULL|~|", ["n", "N", "~", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9][0-9_]*", _NUMBER_FIRST),
    ("float", _FLOAT, _NUMBER_FIRST),
]:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_int)
