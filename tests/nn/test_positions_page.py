"""docs/positions.md says what the settings say."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from patchword.config import AttentionConfig, PerModalityPositionConfig, PositionConfig, RotaryScalingConfig

PAGE = Path(__file__).resolve().parents[2] / "docs" / "positions.md"
KINDS: dict[str, Any] = {**PositionConfig.kinds}


def table(first: str) -> dict[str, list[str]]:
    """The rows below the header that starts with these words, by their first cell."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith(f"| {first} "))
    rows = {}
    for line in lines[at + 2 :]:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        rows[cells[0]] = cells[1:]
    return rows


def test_every_kind_has_its_line_in_every_table() -> None:
    assert list(table("kind | what")) == list(KINDS)
    assert list(table("kind | longer")) == list(KINDS)
    assert list(table("scaling")) == list(RotaryScalingConfig.kinds)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_s_line_is_what_its_settings_say(kind: str) -> None:
    what, formula, needs, mechanisms = table("kind | what")[kind]
    config = KINDS[kind]
    assert what == " ".join(config.__doc__.split()).removesuffix(".")
    assert formula
    if config is PerModalityPositionConfig:
        return
    assert needs == (", ".join(sorted(config.needs)) or "-")
    attention: dict[str, Any] = {**AttentionConfig.kinds}
    able = [name for name, other in attention.items() if config.needs <= other.can]
    assert mechanisms == ("all" if len(able) == len(attention) else ", ".join(able))


@pytest.mark.parametrize("kind", [*KINDS.values(), *RotaryScalingConfig.kinds.values()], ids=lambda kind: kind.kind)
def test_every_setting_is_named(kind: Any) -> None:
    page = PAGE.read_text(encoding="utf-8")
    for field in dataclasses.fields(kind):
        assert re.search(rf"\b{field.name}\b", page), field.name
