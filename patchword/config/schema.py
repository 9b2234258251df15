"""JSON Schema (2020-12) of configurations, for completion and checking in editors."""

from __future__ import annotations

import types
from typing import Any

from patchword.config.core import (
    Config,
    config_in,
    config_in_mapping,
    field_types,
    is_family,
    kinds_of,
    required_fields,
)
from patchword.config.docs import field_docs, first_sentence
from patchword.config.values import options, schema


def json_schema(cls: type[Config]) -> dict[str, Any]:
    """JSON Schema of a class of settings and of all that it may hold."""
    book = _Definitions()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": cls.__name__,
        **book.reference(cls),
        "$defs": book.definitions,
    }


class _Definitions:
    """The schema of each class met so far, under a name of its own."""

    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}
        self._names: dict[type[Config], str] = {}

    def reference(self, cls: type[Config]) -> dict[str, Any]:
        """A reference to the definition of a class, which is made where there is none yet."""
        if cls not in self._names:
            # two packages may name a class alike; the name is taken before it is filled: configs may nest themselves
            taken = cls.__name__ in self.definitions
            name = self._names[cls] = f"{cls.__module__}.{cls.__qualname__}" if taken else cls.__name__
            self.definitions[name] = {}
            self.definitions[name] = self._family(cls) if is_family(cls) else self._object(cls)
        return {"$ref": f"#/$defs/{self._names[cls]}"}

    def _family(self, cls: type[Config]) -> dict[str, Any]:
        kinds = kinds_of(cls)
        choices = [self.reference(kind) for kind in kinds.values()]
        return {"oneOf": [*choices, {"enum": sorted(kinds)}], "description": first_sentence(cls)}

    def _object(self, cls: type[Config]) -> dict[str, Any]:
        docs, kind = field_docs(cls), {"kind": {"const": cls.kind}} if hasattr(cls, "kind") else {}
        fields = {
            name: self._field(hint) | ({"description": docs[name]} if name in docs else {})
            for name, hint in field_types(cls).items()
        }
        return {
            "type": "object",
            "description": first_sentence(cls),
            "properties": kind | fields,
            "required": [*kind, *(name for name in fields if name in required_fields(cls))],
            "additionalProperties": False,
        }

    def _field(self, hint: Any) -> dict[str, Any]:
        if (part := config_in_mapping(hint)) is not None:
            return {"type": "object", "additionalProperties": self.reference(part)}
        if (part := config_in(hint)) is not None:
            reference = self.reference(part)
            return {"anyOf": [reference, {"type": "null"}]} if types.NoneType in options(hint) else reference
        return schema(hint)
