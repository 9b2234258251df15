"""A foreign config.json, read so that nothing in it is ignored by mistake."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from patchword.config import UserError, unknown

_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "mish": "mish",
    "relu2": "relu2",
}
_THEIR_ACTIVATIONS = {"gelu_tanh": "gelu_new"}


class Settings:
    """Their settings of one model.

    Args:
        data: as they stand in the file.
        source: what to call it in messages.
    """

    def __init__(self, data: Mapping[str, Any], source: str) -> None:
        self.data, self.source = data, source

    def __contains__(self, name: str) -> bool:
        return self.data.get(name) is not None

    def number(self, name: str, default: int | None = None) -> int:
        """A whole number.

        Raises:
            UserError: it is missing and has no default, or is none.
        """
        value = self._value(name, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise UserError(f"{self.source}: {name} should be a whole number, got {value!r}")
        return value

    def real(self, name: str, default: float | None = None) -> float:
        """A number.

        Raises:
            UserError: it is missing and has no default, or is none.
        """
        value = self._value(name, default)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise UserError(f"{self.source}: {name} should be a number, got {value!r}")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        """True or false.

        Raises:
            UserError: it is neither.
        """
        value = self._value(name, default)
        if not isinstance(value, bool):
            raise UserError(f"{self.source}: {name} should be true or false, got {value!r}")
        return value

    def side(self, name: str, default: int | None = None) -> tuple[int, int]:
        """A height and a width, or one number for both."""
        value = self.data.get(name)
        if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(v, int) for v in value):
            return value[0], value[1]
        both = self.number(name, default)
        return both, both

    def part(self, name: str) -> Settings:
        """Settings within settings; none where there are none.

        Raises:
            UserError: it is something else.
        """
        value = self.data.get(name) or {}
        if not isinstance(value, Mapping):
            raise UserError(f"{self.source}: {name} should hold settings, got {value!r}")
        return Settings(value, f"{self.source}: {name}")

    def activation(self, name: str) -> Any:
        """Our name of an activation.

        Raises:
            UserError: it is missing, or we have none like it.
        """
        value = self._value(name, None)
        if value not in _ACTIVATIONS:
            raise UserError(f"{self.source}: {name}: {unknown('activation', value, _ACTIVATIONS)}")
        return _ACTIVATIONS[value]

    def refuse(self, **expected: Any) -> None:
        """Settings that have no counterpart here unless they are as expected (or not there at all).

        Raises:
            UserError: one is different.
        """
        for name, allowed in expected.items():
            choices = allowed if isinstance(allowed, tuple) else (allowed,)
            if self.data.get(name) is not None and self.data[name] not in choices:
                can = " or ".join(repr(choice) for choice in choices)
                raise UserError(f"{self.source}: {name} {self.data[name]!r} has no counterpart here, only {can} has")

    def _value(self, name: str, default: Any) -> Any:
        value = self.data.get(name)
        if value is None:
            if default is None:
                raise UserError(f"{self.source}: config.json says nothing of {name}")
            return default
        return value


def their_activation(name: str) -> str:
    """Their name of an activation of ours."""
    return _THEIR_ACTIVATIONS.get(name, name)
