"""The page on fusion says what the code says: class facts, a section a kind, refusals, counts of weights."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from patchword.config import FusionConfig, PoolConfig
from patchword.models.create import create_model
from patchword.models.model import count_parameters
from patchword.models.presets import PRESETS
from patchword.testing.fusion_table import table, with_table

PAGE = Path(__file__).parents[2] / "docs" / "fusion.md"
KINDS = [kind for kind, config in FusionConfig.kinds.items() if config.__module__.startswith("patchword.config")]


def test_the_table_is_that_of_the_classes() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page) == page, "run `python -m patchword.testing.fusion_table`"
    assert table().count("\n") == len(KINDS) + 1


def test_every_kind_has_a_section() -> None:
    sections = re.findall(r"^### (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(KINDS) <= set(sections)
    assert set(sections) - set(KINDS) == {"Summaries: late fusion"}


def test_every_pooling_is_named() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert all(f"`{kind}`" in page for kind in PoolConfig.kinds)


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("layout-")])
def test_weights_of_layouts(name: str) -> None:
    with torch.device("meta"):
        count = count_parameters(create_model(name))
    assert re.search(rf"^\| `{name}` .* \| {count:,} \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
