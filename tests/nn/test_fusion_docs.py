"""The page on fusion says what the code says: class facts, a section a kind, weights of layouts."""

from __future__ import annotations

import re
from pathlib import Path

from patchword.config import FusionConfig, PoolConfig
from patchword.testing.fusion_table import kinds, layouts, with_tables

PAGE = Path(__file__).parents[2] / "docs" / "fusion.md"
KINDS = [kind for kind, config in FusionConfig.kinds.items() if config.__module__.startswith("patchword.config")]


def test_the_tables_are_those_of_the_code() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_tables(page) == page, "run `python -m patchword.testing.fusion_table`"
    assert kinds().count("\n") == len(KINDS) + 1
    assert layouts().count("\n") == 5


def test_every_kind_has_a_section() -> None:
    sections = re.findall(r"^### (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(KINDS) <= set(sections)
    assert set(sections) - set(KINDS) == {"Summaries: late fusion"}


def test_every_pooling_is_named() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert all(f"`{kind}`" in page for kind in PoolConfig.kinds)
