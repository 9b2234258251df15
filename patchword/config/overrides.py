"""Dotted overrides: `train.steps=500 model.image.attention.kind=linear` laid over a configuration."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from patchword.config.core import UNREAD, Config, config_in, config_in_mapping, field_types, is_family, kinds_of
from patchword.config.errors import ConfigError, Problem, UserError, nearest, shown, unknown
from patchword.config.files import has_comment, parse_yaml

C = TypeVar("C", bound=Config)


def parse_overrides(words: Sequence[str]) -> dict[str, Any]:
    """`["train.steps=500"]` to `{"train.steps": 500}`; values are read as YAML.

    Raises:
        UserError: words without `=` or without a key, values that are not YAML, keys given twice.
    """
    out: dict[str, Any] = {}
    wrong: list[str] = []
    for word in words:
        key, _, text = word.partition("=")
        key = key.strip()
        try:
            value = _parse_value(word, key, text)
        except UserError as error:
            wrong.append(str(error))
            continue
        if key in out:
            wrong.append(f"override {key!r} is given twice: {shown(out[key])} and {shown(value)}")
        out[key] = value
    if wrong:
        raise UserError("\n".join(wrong))
    return out


def _parse_value(word: str, key: str, text: str) -> Any:
    if "=" not in word or not key:
        raise UserError(f"override {word!r}: should look like train.steps=500")
    value = parse_yaml(text, f"override {key}")
    if has_comment(text):
        raise UserError(f"override {key}: what follows # in {shown(text)} would be lost: put the text in quotes")
    return value


def override(config: C, changes: Mapping[str, Any], source: str = "overrides") -> C:
    """A copy of `config` with dotted fields changed; the order of `changes` does not matter.

    A mapping changes the fields it names and leaves the others, as so many dotted paths would. A changed `kind` keeps
    what all kinds of the family share, drops what belonged to the old kind alone, and takes the new kind's defaults
    for the rest. A field of a part that was null makes that part, of the family's first kind unless a kind is given.
    In a mapping of plain values the rest of the path is the key, dots and all.

    Raises:
        ConfigError: naming every path that does not exist, does not hold such a value, or is set in two ways.
    """
    overlay, whole = _Overlay(), _family_of(type(config))
    data = overlay.lay_config(config.to_dict(), whole, overlay.read(changes))
    try:
        changed = whole.from_dict(data, source)
    except ConfigError as error:
        raise ConfigError([*overlay.problems, *error.problems], source) from None
    if overlay.problems:
        raise ConfigError(overlay.problems, source)
    return typing.cast(C, changed)


class _Change(NamedTuple):
    path: str
    """As the user wrote it."""
    keys: tuple[Any, ...]
    """What of it lies ahead."""
    value: Any

    def inside(self) -> _Change:
        """The same change, seen from within its first key."""
        return self._replace(keys=self.keys[1:])

    def items(self) -> list[_Change]:
        """One change for each entry of its value, a mapping."""
        return [_Change(f"{self.path}.{key}", (key,), value) for key, value in self.value.items()]


class _Overlay:
    """Lays changes over plain data as the types say, and notes what is wrong with them."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def read(self, changes: Mapping[str, Any]) -> list[_Change]:
        """The changes whose paths can be paths."""
        out = [_Change(path, tuple(path.split(".")), value) for path, value in changes.items()]
        self.problems += [Problem(change.path, "has an empty part between dots") for change in out if "" in change.keys]
        return [change for change in out if "" not in change.keys]

    def _lay(self, old: Any, hint: Any, changes: list[_Change]) -> Any:
        """What a field of that type holds after the changes."""
        if (part := config_in(hint)) is not None:
            return self.lay_config(old, part, changes)
        if (part := config_in_mapping(hint)) is not None:
            return self._lay_parts(old, part, changes)
        if typing.get_origin(hint) is dict:
            return self._lay_table(old, changes)
        return self._lay_value(old, changes)

    def lay_config(self, old: Any, cls: type[Config], changes: list[_Change]) -> Any:
        """What a part of class `cls` is after the changes, as plain data."""
        inner: list[_Change] = []
        whole: list[_Change] = []
        for change in changes:
            if change.keys:
                inner.append(change)
            elif isinstance(change.value, str) and is_family(cls):  # model.norm=rmsnorm
                inner.append(change._replace(keys=("kind",)))
            elif isinstance(change.value, Mapping):
                inner += change.items()
            else:
                whole.append(change)
        if whole and isinstance(whole[0].value, cls) and len(whole) == 1:
            old = whole.pop().value.to_dict()
        if whole:
            return self._only(whole, inner)
        data = dict(old) if isinstance(old, Mapping) else _blank(cls)
        kinds = [change for change in inner if change.keys == ("kind",)] if kinds_of(cls) else []
        if kinds and not self._change_kind(data, cls, kinds):
            return UNREAD
        self._lay_fields(data, kinds_of(cls).get(data.get("kind", ""), cls), [c for c in inner if c not in kinds])
        return data

    def _lay_fields(self, data: dict[str, Any], cls: type[Config], changes: list[_Change]) -> None:
        hints, short = field_types(cls), cls.shorthand or ""
        names = set(data.get(short) or {})
        added = {c.keys[1] for c in changes if c.keys[0] == short and c.keys[2:] == ("kind",)}
        fields: dict[str, list[_Change]] = {}
        misspelt: list[str] = []
        for change in changes:
            key = change.keys[0]
            if key in hints:
                fields.setdefault(key, []).append(change.inside())
            elif key in names | added:
                fields.setdefault(short, []).append(change)
            else:
                self.problems.append(Problem(change.path, unknown("field", key, names | set(hints))))
                if (meant := nearest(key, [*hints])) is not None:
                    misspelt.append(meant)
        for key, within in fields.items():
            data[key] = self._lay(data.get(key), hints[key], within)
        for key in set(misspelt) - set(fields):
            data[key] = UNREAD  # not to be judged by what it was before

    def _change_kind(self, data: dict[str, Any], cls: type[Config], changes: list[_Change]) -> bool:
        change, kinds = changes[0], kinds_of(cls)
        kind = self._only(changes, [])
        if not isinstance(kind, str) or kind not in kinds:
            self.problems.append(Problem(change.path, unknown(f"{cls.family} kind", kind, kinds)))
            return False
        if data.get("kind") != kind:
            shared = set(field_types(_family_of(cls))) & set(field_types(kinds[kind]))
            for key in set(data) - shared:
                del data[key]
            data["kind"] = kind
        return True

    def _lay_parts(self, old: Any, part: type[Config], changes: list[_Change]) -> Any:
        whole = [c for c in changes if not c.keys and not isinstance(c.value, Mapping)]
        inner = [c for c in changes if c.keys]
        inner += [item for c in changes if not c.keys and isinstance(c.value, Mapping) for item in c.items()]
        if whole:
            return self._only(whole, inner)
        data = dict(old or {})
        names: dict[Any, list[_Change]] = {}
        for change in inner:
            names.setdefault(change.keys[0], []).append(change.inside())
        for name, within in names.items():
            if name not in data and is_family(part) and not any(map(_gives_kind, within)):
                hint = f"{unknown(part.family, name, data)}; a new one needs a kind"
                self.problems.append(Problem(within[0].path, hint))
            else:
                data[name] = self.lay_config(data.get(name), part, within)
        return data

    def _lay_table(self, old: Any, changes: list[_Change]) -> Any:
        """Plain values by name: a path names one of them, a value replaces them all."""
        whole = [change for change in changes if not change.keys]
        inner = [change for change in changes if change.keys]
        if whole:
            return self._only(whole, inner)
        names: dict[str, list[_Change]] = {}
        for change in inner:
            names.setdefault(".".join(map(str, change.keys)), []).append(change)
        return dict(old or {}) | {name: self._only(within, []) for name, within in names.items()}

    def _lay_value(self, old: Any, changes: list[_Change]) -> Any:
        whole = [change for change in changes if not change.keys]
        for change in changes:
            if change.keys:
                owner = change.path[: -len(".".join(map(str, change.keys))) - 1]
                message = f"{owner} holds one value and has no field {change.keys[0]!r}"
                self.problems.append(Problem(change.path, message))
        return self._only(whole, []) if whole else old

    def _only(self, whole: list[_Change], inner: list[_Change]) -> Any:
        """The value of the one change that sets something as a whole; any other contradicts it."""
        first, *others = [*whole, *inner]
        for other in others:
            message = f"is set to {shown(first.value)}, and by {other.path} to {shown(other.value)}"
            self.problems.append(Problem(first.path, message))
        return first.value


def _family_of(cls: type[Config]) -> type[Config]:
    """The class that a kind is one of; a class of no family stands for itself."""
    return next((base for base in cls.__mro__ if "kinds" in vars(base)), cls)


def _blank(cls: type[Config]) -> dict[str, Any]:
    """What stands where nothing was: defaults, of the family's first kind."""
    return {"kind": next(iter(kinds_of(cls)))} if kinds_of(cls) else {}


def _gives_kind(change: _Change) -> bool:
    if change.keys:
        return change.keys == ("kind",)
    return not isinstance(change.value, Mapping) or "kind" in change.value
