"""JSON Schema (2020-12) of configurations, for completion and checking in editors."""

from __future__ import annotations

import types
from collections.abc import Iterable
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


def json_schema(cls: type[Config], presets: Iterable[str] = ()) -> dict[str, Any]:
    """JSON Schema of a class of settings and of all that it may hold.

    Args:
        cls: the class.
        presets: names that a mapping may give as `preset`, and then hold only what differs; none: it is always whole.
    """
    definitions: dict[str, Any] = {}
    top: dict[str, Any] = _Whole(definitions).reference(cls)
    if names := sorted(presets):
        name = {"enum": names, "description": "The named configuration that this one differs from."}
        changes = _Changes(definitions).top(cls, {"preset": name})
        top = {"properties": {"preset": name}, "if": {"required": ["preset"]}, "then": changes, "else": top}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": cls.__name__,
        **top,
        "$defs": definitions,
    }


class _Whole:
    """Schemas of complete settings: one of each class met so far, under a name of its own in `definitions`."""

    suffix = ""
    """Stands after the name of the class."""

    def __init__(self, definitions: dict[str, Any]) -> None:
        self.definitions = definitions
        self._names: dict[type[Config], str] = {}

    def reference(self, cls: type[Config]) -> dict[str, Any]:
        """A reference to the definition of a class, which is made where there is none yet."""
        if cls not in self._names:
            # two packages may name a class alike; the name is taken before it is filled: configs may nest themselves
            short = cls.__name__ + self.suffix
            taken = short in self.definitions
            name = self._names[cls] = f"{cls.__module__}.{cls.__qualname__}{self.suffix}" if taken else short
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


class _Changes(_Whole):
    """Schemas of what is laid over complete settings: nothing is required, a `kind` neither."""

    suffix = "Changes"

    def top(self, cls: type[Config], more: dict[str, Any]) -> dict[str, Any]:
        """Changes at the top of a file, where keys may also be dotted paths, and `more` fields may stand."""
        whole = self._object(cls)
        return whole | {"properties": more | whole["properties"], "patternProperties": {r"\.": {}}}

    def _family(self, cls: type[Config]) -> dict[str, Any]:
        return {"anyOf" if key == "oneOf" else key: value for key, value in super()._family(cls).items()}

    def _object(self, cls: type[Config]) -> dict[str, Any]:
        whole = super()._object(cls)
        del whole["required"]
        part = config_in_mapping(field_types(cls)[cls.shorthand]) if cls.shorthand is not None else None
        return whole | ({"additionalProperties": self.reference(part)} if part is not None else {})
