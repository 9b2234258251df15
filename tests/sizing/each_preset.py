"""Presets as parameters of a test: one of every task always, the others with the slow tests."""

from __future__ import annotations

from typing import Any

import pytest

from patchword.models.presets import PRESETS, preset

_FIRST = {preset(name).task.kind: name for name in reversed(PRESETS)}


def each_preset(*names: str) -> list[Any]:
    """These presets (none named: all)."""
    often = _FIRST.values()
    return [name if name in often else pytest.param(name, marks=pytest.mark.slow) for name in names or PRESETS]
