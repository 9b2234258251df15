"""Random configurations: every kind, every type of field, hostile text."""

from __future__ import annotations

import random
import typing
from typing import Any

from patchword.config import ConfigError
from patchword.config.core import (
    Config,
    config_in,
    config_in_mapping,
    field_types,
    is_family,
    kinds_of,
    required_fields,
)
from patchword.config.values import options

_SIGNS = [*"aZ09 _-.:#,'\"\\/{}[]&*!|>%@`?~=\n\t\r", "ß", "é", "😀", "\x7f", "\x85", "\xa0", "\u2028", "\ufeff", "\x00"]
_WORDS = ["no", "on", "null", "~", "true", "1:30", "010", "3e-4", ".5", "1_0", "", "- a", "<<", "=", "2020-01-01"]


def classes(base: type[Config] = Config) -> list[type[Config]]:
    """Every config class of the package."""
    found = [base] if base is not Config else []
    for sub in base.__subclasses__():
        found += classes(sub)
    return [c for c in dict.fromkeys(found) if c.__module__.startswith("patchword.")]


def text(rng: random.Random) -> str:
    """A word that YAML might misread, or random signs."""
    return rng.choice(_WORDS) if rng.random() < 0.4 else "".join(rng.choices(_SIGNS, k=rng.randrange(8)))


def value(hint: Any, rng: random.Random) -> Any:
    """A value that a field of this type may hold, most of the time."""
    option = rng.choice(options(hint))
    origin, args = typing.get_origin(option), typing.get_args(option)
    if origin is typing.Annotated:
        return value(args[0], rng)
    if origin is typing.Literal:
        return rng.choice(args)
    if origin is tuple:
        parts = [args[0]] * rng.randrange(4) if Ellipsis in args else args
        return tuple(value(part, rng) for part in parts)
    if isinstance(option, type) and issubclass(option, Config):
        return config(option, rng)
    if origin is dict:
        return {text(rng): value(args[1], rng) for _ in range(rng.randrange(3))}
    makers = {
        int: lambda: rng.choice([0, 1, 2, 8, 16, 64, rng.randrange(10**6), 10**30]),
        float: lambda: rng.choice([0.0, 1.0, 1e-5, 1e16, rng.random(), rng.lognormvariate(0, 20)]),
        str: lambda: text(rng),
        bool: lambda: rng.random() < 0.5,
        type(None): lambda: None,
    }
    return makers[option]()


def config(cls: type[Config], rng: random.Random) -> Config:
    """A random config of this class, or of a random kind of this family."""
    made = rng.choice(list(kinds_of(cls).values())) if is_family(cls) else cls
    while True:
        try:
            return mutated(made(**{name: value(field_types(made)[name], rng) for name in required_fields(made)}), rng)
        except ConfigError:  # a value that a required field may not hold
            continue


def mutated(old: Any, rng: random.Random, share: float = 0.6) -> Any:
    """A copy with most fields changed at random, where the changes are allowed."""
    for name, hint in rng.sample(list(field_types(type(old)).items()), len(field_types(type(old)))):
        if rng.random() > share:
            continue
        try:
            old = old.replace(**{name: _field(getattr(old, name), hint, rng)})
        except ConfigError:
            continue
    return old


def _field(now: Any, hint: Any, rng: random.Random) -> Any:
    if config_in_mapping(hint) is not None:
        return {name: mutated(part, rng) for name, part in now.items()}
    part = config_in(hint)
    if part is None:
        return value(hint, rng)
    if now is None or (is_family(part) and rng.random() < 0.5):
        return config(part, rng)
    return None if type(None) in options(hint) and rng.random() < 0.2 else mutated(now, rng)
