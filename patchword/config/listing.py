"""Configurations written out: complete, in JSON, or in YAML with a comment line for each field."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from patchword.config.core import Config, field_types
from patchword.config.docs import field_docs, first_sentence
from patchword.config.errors import UserError
from patchword.config.files import parse_yaml


def to_json(config: Config) -> str:
    """The complete configuration as JSON."""
    return _json(config.to_dict(), indent=2) + "\n"


def to_yaml(config: Config, comments: bool = True) -> str:
    """The complete configuration as YAML, with one comment line a field."""
    return "\n".join(_lines(config, "", comments)) + "\n"


def _lines(config: Config, indent: str, comments: bool) -> Iterator[str]:
    docs, fields = field_docs(type(config)), field_types(type(config))
    if hasattr(config, "kind"):
        if comments:
            yield f"{indent}# {first_sentence(type(config))} (kinds: {', '.join(sorted(config.kinds))})"
        yield f"{indent}kind: {_scalar(config.kind)}"
    elif not fields:
        yield f"{indent}{{}}"
    for name in fields:
        if comments and name in docs:
            yield f"{indent}# {docs[name]}"
        value = getattr(config, name)
        if isinstance(value, Config):
            yield f"{indent}{name}:"
            yield from _lines(value, indent + "  ", comments)
        elif isinstance(value, dict) and any(isinstance(part, Config) for part in value.values()):
            yield f"{indent}{name}:"
            for key, part in value.items():
                yield f"{indent}  {_scalar(key)}:"
                yield from _lines(part, indent + "    ", comments)
        else:
            yield f"{indent}{name}: {_scalar(value)}"


def _scalar(value: Any) -> str:
    """One line of JSON, which is also YAML; a bare word where every reader of YAML takes it for the same text."""
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_./][\w./*-]*", value) and _reads_back(value):
        return value
    text = _json(value)
    if isinstance(value, float) and "e" in text and "." not in text:
        return text.replace("e", ".0e")  # YAML 1.1 takes 1e-05 for text
    return text


def _reads_back(text: str) -> bool:
    try:
        return parse_yaml(text) == text == yaml.safe_load(text)  # the latter knows YAML 1.1's words: yes, no, on
    except (UserError, yaml.YAMLError):
        return False


_AWKWARD = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")


def _json(value: Any, indent: int | None = None) -> str:
    """JSON that YAML reads alike: what YAML refuses, or takes for a line's end, is written as an escape."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return _AWKWARD.sub(lambda match: f"\\u{ord(match.group()):04x}", text)
